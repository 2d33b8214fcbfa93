/* Time that passes. */
#ifndef SN_BASE_CLOCK_H
#define SN_BASE_CLOCK_H

/* Seconds since some moment of the past, never going back: differences of two are durations. */
double sn_seconds(void);

#endif
