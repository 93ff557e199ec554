#ifndef STRING_H
#define STRING_H
typedef __SIZE_TYPE__ size_t;
void *memcpy(void *restrict target, const void *restrict source, size_t count);
void *memmove(void *target, const void *source, size_t count);
void *memset(void *target, int value, size_t count);
#endif
