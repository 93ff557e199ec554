@tables@

/* Fourier transform of @half@ complex numbers in place, as pairs of real and imaginary part. */
static void transform(float *z) {
  for (int i = 1, j = 0; i < @half@; ++i) {
    int bit = @half@ / 2;
    for (; j & bit; bit /= 2) j ^= bit;
    j ^= bit;
    if (i < j) {
      const float re = z[2 * i], im = z[2 * i + 1];
      z[2 * i] = z[2 * j], z[2 * i + 1] = z[2 * j + 1];
      z[2 * j] = re, z[2 * j + 1] = im;
    }
  }
  for (int size = 1; size < @half@; size *= 2)
    for (int k = 0; k < size; ++k) {
      const float c = turns[2 * (k * (@half@ / size))], s = turns[2 * (k * (@half@ / size)) + 1];
      for (int i = k; i < @half@; i += 2 * size) {
        float *const a = z + 2 * i, *const b = a + 2 * size;
        const float re = b[0] * c + b[1] * s, im = b[1] * c - b[0] * s;
        b[0] = a[0] - re, b[1] = a[1] - im;
        a[0] += re, a[1] += im;
      }
    }
}

/* Power of the real signal whose even and odd samples were the real and imaginary parts: that at bin k stands at 2 k. */
static void powers(float *z) {
  z[0] = (z[0] + z[1]) * (z[0] + z[1]);
  for (int k = 1; k <= @half@ / 2; ++k) {
    float *const a = z + 2 * k, *const b = z + 2 * (@half@ - k);
    const float c = turns[2 * k], s = turns[2 * k + 1];
    const float even = 0.5f * (a[0] + b[0]), lean = 0.5f * (a[1] - b[1]);
    const float odd = 0.5f * (a[1] + b[1]), skew = 0.5f * (b[0] - a[0]);
    const float re = odd * c + skew * s, im = skew * c - odd * s;
    a[0] = (even + re) * (even + re) + (lean + im) * (lean + im);
    if (a != b) b[0] = (even - re) * (even - re) + (lean - im) * (lean - im);
  }
}

static void listen(@name@_sound *self) {
  for (int k = 0; k < @window@; ++k) self->spectrum[k] = (float)self->window[k] * taper[k];
  for (int k = @window@; k < @points@; ++k) self->spectrum[k] = 0.0f;
  transform(self->spectrum);
  powers(self->spectrum);
  const float *weight = weights;
  for (int m = 0; m < @mels@; ++m) {
    float energy = 0.0f;
    for (int bin = bins[2 * m]; bin < bins[2 * m + 1]; ++bin) energy += self->spectrum[2 * bin] * *weight++;
    self->frame[m] = log_of(energy > @floor@ ? energy : @floor@);
  }
}

void @name@_sound_init(@name@_sound *self) {
  memset(self, 0, sizeof *self);
  @name@_init(&self->stream);
}

int @name@_hear(@name@_sound *self, const int16_t *samples, int count@outputs@) {
  int frames = 0;
  for (int k = 0; k < count; ++k) {
    if (self->filled >= 0) self->window[self->filled] = samples[k];
    if (++self->filled == @window@) {
      listen(self);
      @name@_step(&self->stream, self->frame@passed@);
      @advance@
      self->filled = @left@;
      ++frames;
    }
  }
  return frames;
}
