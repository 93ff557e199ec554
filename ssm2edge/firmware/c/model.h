/* Made by ssm2edge: a streaming model, one block of samples a step.  No heap, no files, no operating system: each stream is one
   struct of yours, and a copy of it is a snapshot. */
#ifndef @NAME@_H
#define @NAME@_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @NAME@_BLOCK @block@ /* samples of a step */
@sizes@
@classes@

typedef struct {
@fields@
} @name@_stream;

/* Forgets all samples; call it before the first step. */
void @name@_init(@name@_stream *self);

/* Takes one block of samples and gives its outputs:
@notes@ */
@step@;
@extra@
#ifdef __cplusplus
}
#endif
#endif
