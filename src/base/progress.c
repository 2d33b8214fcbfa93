/* A line that is written over itself five times a second. */
#include "base/progress.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void sn_progress_begin(sn_progress *p, FILE *out, const char *what, const char *unit, int64_t total) {
    const char *terminal = getenv("TERM");
    bool can = out && isatty(fileno(out)) && !(terminal && strcmp(terminal, "dumb") == 0);
    *p = (sn_progress){.out = can ? out : NULL, .what = what, .unit = unit, .total = total, .begun = sn_seconds()};
}

/* 95 → "1:35", 3725 → "1:02:05" */
static void write_time(double seconds, char *text, size_t size) {
    long s = seconds < 3.6e6 ? (long)(seconds + 0.5) : 3600000;
    if (s < 3600) snprintf(text, size, "%ld:%02ld", s / 60, s % 60);
    else snprintf(text, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

double sn_progress_left(const sn_progress *p, int64_t done, double seconds) {
    return seconds > 0 && done > p->had ? (double)(p->total - done) * seconds / (double)(done - p->had) : -1;
}

void sn_progress_line(const sn_progress *p, int64_t done, double seconds, char line[80]) {
    double rate = seconds > 0 && done > p->had ? (double)(done - p->had) / seconds : 0;
    char left[24] = "?";
    if (p->total <= 0) {
        snprintf(line, 80, "%s %lld, %.3g %s/s", p->what, (long long)done, rate, p->unit);
        return;
    }
    if (done > p->total) done = p->total;
    if (rate > 0) write_time(sn_progress_left(p, done, seconds), left, sizeof left);
    snprintf(line, 80, "%s %lld of %lld (%d %%), %.3g %s/s, %s left%s%s", p->what, (long long)done, (long long)p->total, (int)(100 * (double)done / (double)p->total), rate, p->unit, left, p->note ? ", " : "",
             p->note ? p->note : "");
}

void sn_progress_to(sn_progress *p, int64_t done) {
    if (!p->out) return;
    double t = sn_seconds();
    if (t - p->begun < 2 || t - p->told < 0.2) return;
    char line[80];
    sn_progress_line(p, done, t - p->begun, line);
    fprintf(p->out, "\r\033[K%s", line);
    fflush(p->out);
    p->told = t, p->shown = true;
}

void sn_progress_had(sn_progress *p) { p->had++; }

void sn_progress_end(sn_progress *p) {
    if (!p->shown) return;
    fputs("\r\033[K", p->out);
    fflush(p->out);
    p->shown = false;
}
