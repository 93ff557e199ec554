/* An example and a test: the first blocks of a recorded sequence through the model, against the answers that are known. */
#include "@name@.h"
#include "@name@_vectors.h"

#include <math.h>
#include <stdio.h>

static @name@_stream stream; /* all the memory that a stream needs; declare one for each stream */

@buffers@

static double largest(const float *found, const float *expected, int size, double error) {
  for (int k = 0; k < size; ++k) {
    const double difference = fabs((double)found[k] - (double)expected[k]);
    error = difference > error ? difference : error;
  }
  return error;
}

int main(void) {
  double error = 0.0;
  @name@_init(&stream);
  for (int block = 0; block < @NAME@_VECTORS; ++block) {
    @name@_step(&stream, @arguments@);
@comparisons@
  }
  printf("@name@: %d blocks, largest difference %g\n", @NAME@_VECTORS, error);
  return error > @limit@;
}
