static inline float sigmoid_of(float x) {
  return 1.0f / (1.0f + exp_of(-x));
}
