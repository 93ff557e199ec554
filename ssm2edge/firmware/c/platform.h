/* What a test needs of the machine it runs on. */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdint.h>

void platform_open(void);
int platform_read(void *target, int bytes); /* 1, or 0 at the end of the file */
void platform_write(const void *source, int bytes);
void platform_run(void (*step)(void));
void platform_close(void (*step)(void));

#endif
