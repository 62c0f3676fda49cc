/* Averages of the weights over a run, whose length is chosen afterwards (arXiv 2312.02696, section
 * 3 and appendix C). A power profile weighs the weights of time tau <= t with tau^gamma: it grows
 * with the run, and is as wide as a share of it, sigma_rel, its standard deviation. Two of them are
 * followed while the run lasts, and kept at some times; a profile of any other width is close to a
 * sum of these. Time is the number of steps that have been taken, 1, 2 ... */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LDM_PROFILES    2    /* that a run follows */
#define LDM_POWER_LEAST 0.01 /* sigma_rel */
#define LDM_POWER_MOST  0.25

/* gamma >= 0 of a profile of this width. */
double ldm_power_gamma(double sigma_rel);

/* How much of the weights of time t comes into their average: 1 - (1 - 1 / t)^(gamma + 1). */
double ldm_power_follow(double gamma, uint64_t t);

typedef struct {
    double gamma, t;
} LdmPower;

/* Product of two profiles, the integral over time. */
double ldm_power_product(LdmPower a, LdmPower b);

/* What to multiply the averages `have` [n] by, so that their sum is as near as can be, by least
 * squares, to the profile `wanted`; -> factors [n], whose sum is 1: weights that stand still stay
 * what they are. */
void ldm_power_fit(const LdmPower *have, size_t n, LdmPower wanted, double *factors);
