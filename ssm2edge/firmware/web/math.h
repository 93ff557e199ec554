#ifndef MATH_H
#define MATH_H
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define sqrtf __builtin_sqrtf
#define fabsf __builtin_fabsf
#define floorf __builtin_floorf
#define ceilf __builtin_ceilf
#define rintf __builtin_rintf
#define sqrt __builtin_sqrt
#define fabs __builtin_fabs
#endif
