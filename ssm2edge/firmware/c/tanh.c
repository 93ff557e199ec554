/* Hyperbolic tangent: x P(x^2) / Q(x^2) for |x| <= 9.02 (minimax, 2e-8); beyond, 1 exactly. */
static inline float tanh_of(float x) {
  const float s = x * x;
  const float p = 1.0f + s * (0.13381028f + s * (0.0034955912f + s * (2.0609129e-5f + s * 1.33547209e-8f)));
  const float q = 1.0f + s * (0.46714345f + s * (0.025876993f + s * (3.2856397e-4f + s * 7.776584e-7f)));
  const float y = x * p / q;
  return x > 9.02f ? 1.0f : x < -9.02f ? -1.0f : y;
}
