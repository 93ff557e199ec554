/* Runs sequences that a file holds through the model: before each, the number of its blocks; then the inputs of every block.
   The outputs of every block go to another file. */
#include "@name@.h"
#include "platform.h"

static @struct@ the_stream;
@buffers@

static void run_step(void) {
  @call@;
}

int main(void) {
  int32_t blocks;
  platform_open();
  while (platform_read(&blocks, sizeof blocks)) {
    @init@(&the_stream);
    for (int32_t block = 0; block < blocks; ++block) {
@reads@
      platform_run(run_step);
@writes@
    }
  }
  platform_close(run_step);
  return 0;
}
