/* Error function: x P(x^2) / Q(x^2) for |x| <= 3.92 (minimax, 3e-8); beyond, 1 exactly, for 1 + erf(x) multiplies large numbers. */
static inline float erf_of(float x) {
  const float s = x * x;
  const float p = 1.1283791f + s * (0.1935453f + s * (0.05310178f + s * (0.003883356f + s * (2.845665e-4f + s * 1.9867848e-6f))));
  const float q = 1.0f + s * (0.5048576f + s * (0.1153501f + s * (0.015207274f + s * (0.0011855748f + s * 3.7420235e-5f))));
  const float y = x * p / q;
  return x > 3.92f ? 1.0f : x < -3.92f ? -1.0f : y;
}
