
/* Samples of a microphone in, through the front end with which the model was trained: @rate@ samples a second, windows of
   @window@ every @hop@, @mels@ log-mel energies each. */
#define @NAME@_SAMPLE_RATE @rate@

typedef struct {
  @name@_stream stream;
  float spectrum[@points@];
  float frame[@mels@];
  int16_t window[@window@];
  int32_t filled; /* samples in the window; below zero, samples to skip */
} @name@_sound;

void @name@_sound_init(@name@_sound *self);

/* Takes any number of samples and returns the number of frames that they complete; the outputs are those after the last. */
int @name@_hear(@name@_sound *self, const int16_t *samples, int count@outputs@);
