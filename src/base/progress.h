/* How far a long piece of work is: a line with share, rate and time left.
 *
 * Only on a terminal, and only after two seconds: what is short needs no bar, and a log no control characters. */
#ifndef SN_BASE_PROGRESS_H
#define SN_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct sn_progress {
    FILE *out; /* NULL: silent */
    const char *what, *unit;
    int64_t total, had; /* had: of those that are done, how many were found done */
    double begun, told; /* seconds */
    bool shown;
    const char *note; /* behind the rest, e.g. the present loss; borrowed, may be NULL */
} sn_progress;

/* what: "questions"; unit: what is counted, for the rate ("q/s" for "q"). total 0 = not known. Strings are
 * borrowed. */
void sn_progress_begin(sn_progress *progress, FILE *out, const char *what, const char *unit, int64_t total);
void sn_progress_to(sn_progress *progress, int64_t done);
/* The next one was done by an earlier run: it counts, but not in the rate. */
void sn_progress_had(sn_progress *progress);
/* Takes the line away. */
void sn_progress_end(sn_progress *progress);

/* Seconds that the rest takes at the mean rate since the beginning; -1 where nothing is done yet. */
double sn_progress_left(const sn_progress *progress, int64_t done, double seconds);

/* The line itself after so many seconds, at most 79 characters. */
void sn_progress_line(const sn_progress *progress, int64_t done, double seconds, char line[80]);

#endif
