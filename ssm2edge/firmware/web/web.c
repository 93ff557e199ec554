/* One stream in a module of WebAssembly without imports: places of its arrays, and what to do with them. */
#include "@name@.h"

#include <string.h>

#define EXPORT(name) __attribute__((export_name(#name)))

static @name@_stream the_stream;
@buffers@

EXPORT(init) void web_init(void) { @name@_init(&the_stream); }
EXPORT(step) void web_step(void) { @name@_step(&the_stream, @arguments@); }
EXPORT(place) void *web_place(int port) {
  switch (port) {
@places@
    default: return &the_stream;
  }
}
EXPORT(size) int web_size(void) { return (int)sizeof the_stream; }

void *memcpy(void *restrict target, const void *restrict source, size_t count) {
  for (size_t k = 0; k < count; ++k) ((char *)target)[k] = ((const char *)source)[k];
  return target;
}
void *memmove(void *target, const void *source, size_t count) {
  if ((char *)target < (const char *)source) return memcpy(target, source, count);
  while (count--) ((char *)target)[count] = ((const char *)source)[count];
  return target;
}
void *memset(void *target, int value, size_t count) {
  for (size_t k = 0; k < count; ++k) ((char *)target)[k] = (char)value;
  return target;
}
