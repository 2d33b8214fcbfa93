/* JSON lines and two SVG curves. */
#include "train/report.h"

#include "base/file.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static bool keep(sn_metrics *m, double loss, double lr) {
    if (!sn_grow((void **)&m->loss, &m->loss_capacity, m->count + 1, sizeof *m->loss) || !sn_grow((void **)&m->lr, &m->lr_capacity, m->count + 1, sizeof *m->lr)) return false;
    m->loss[m->count] = loss, m->lr[m->count++] = lr;
    return true;
}

sn_status sn_metrics_open(const char *folder, int64_t step, sn_metrics *m, sn_error *error) {
    *m = (sn_metrics){0};
    char *path = sn_path_join(folder, "metrics.jsonl"), *bytes = NULL;
    size_t length = 0;
    sn_buf kept = {0};
    if (!path) return sn_fail_memory(error);
    sn_status status = step > 0 && sn_is_file(path) ? sn_read_file(path, 1 << 30, &bytes, &length, error) : SN_OK;
    for (const char *at = bytes, *end = bytes + length; bytes && at < end && !status;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) break; /* a line that was not finished */
        json_t *line;
        int64_t number = 0;
        double loss = NAN, lr = 0;
        if (!sn_json_bytes("metrics.jsonl", at, (size_t)(stop - at), &line, NULL)) {
            sn_json_integer("metrics.jsonl", line, "step", 0, INT64_MAX, &number, NULL);
            sn_json_number("metrics.jsonl", line, "loss", -1e30, 1e30, &loss, NULL);
            sn_json_number("metrics.jsonl", line, "lr", 0, 1e30, &lr, NULL);
            json_decref(line);
        }
        if (number >= 1 && number <= step) {
            sn_buf_add(&kept, at, (size_t)(stop - at) + 1);
            if (!keep(m, loss, lr)) status = sn_fail_memory(error);
        }
        at = stop + 1;
    }
    if (!status) status = sn_write_file(path, kept.data ? kept.data : "", kept.length, error);
    if (!status && !(m->file = fopen(path, "a"))) status = sn_fail(error, SN_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    sn_buf_free(&kept);
    sn_free(bytes);
    sn_free(path);
    if (status) sn_metrics_close(m);
    return status;
}

void sn_metrics_close(sn_metrics *m) {
    if (m->file) fclose(m->file);
    sn_free(m->loss);
    sn_free(m->lr);
    *m = (sn_metrics){0};
}

sn_status sn_metrics_add(sn_metrics *m, const sn_step_report *r, sn_error *error) {
    json_t *line = json_pack("{s:I, s:f, s:f, s:f, s:I, s:I, s:I, s:f}", "step", (json_int_t)r->step, "loss", r->loss.total, "grad_norm", r->grad_norm, "lr", r->lr, "tokens", (json_int_t)r->tokens,
                             "learnt", (json_int_t)r->learnt, "pictures", (json_int_t)r->pictures, "seconds", r->seconds);
    for (int i = 0; line && i < r->loss.count; i++) json_object_set_new(line, r->loss.part[i].name, json_real(r->loss.part[i].value));
    if (line && r->summing > 0) json_object_set_new(line, "summing", json_pack("{s:f, s:f}", "seconds", r->summing, "hidden", r->hidden));
    if (line && r->samples) json_object_set(line, "samples", r->samples);
    if (line && r->empty) json_object_set_new(line, "loss", json_null()); /* over no token there is no loss */
    bool ok = line && json_dumpf(line, m->file, JSON_COMPACT) == 0 && fputc('\n', m->file) != EOF && fflush(m->file) == 0;
    json_decref(line);
    if (!ok) return sn_fail(error, SN_ERROR_IO, "metrics.jsonl: cannot write: %s", strerror(errno));
    return keep(m, r->empty ? NAN : r->loss.total, r->lr) ? SN_OK : sn_fail_memory(error);
}

enum { WIDTH = 900, HEIGHT = 260, LEFT = 70, BOTTOM = 30 };

/* A curve; of long runs every point is the mean of the steps it stands for. */
static void draw(sn_buf *out, const char *title, const double *values, size_t count) {
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i])) low = fmin(low, values[i]), high = fmax(high, values[i]);
    if (!(high > low)) low = isfinite(low) ? low - 1 : 0, high = low + 2;
    sn_buf_printf(out, "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n<rect x=\"%d\" y=\"0\" width=\"%d\" height=\"%d\" class=\"frame\"/>\n", title, WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT,
                  WIDTH - LEFT, HEIGHT - BOTTOM);
    sn_buf_printf(out, "<text x=\"%d\" y=\"12\" class=\"y\">%.4g</text><text x=\"%d\" y=\"%d\" class=\"y\">%.4g</text><text x=\"%d\" y=\"%d\">1</text><text x=\"%d\" y=\"%d\" class=\"y\">%zu</text>\n<polyline points=\"",
                  LEFT - 6, high, LEFT - 6, HEIGHT - BOTTOM, low, LEFT, HEIGHT - 8, WIDTH, HEIGHT - 8, count);
    size_t points = count < WIDTH - LEFT ? count : WIDTH - LEFT;
    for (size_t p = 0; p < points; p++) {
        double sum = 0;
        size_t n = 0;
        for (size_t i = p * count / points; i < (p + 1) * count / points; i++)
            if (isfinite(values[i])) sum += values[i], n++;
        if (!n) continue;
        double x = LEFT + (WIDTH - LEFT) * (points > 1 ? (double)p / (double)(points - 1) : 0.5), y = (HEIGHT - BOTTOM) * (1 - (sum / (double)n - low) / (high - low));
        sn_buf_printf(out, "%.1f,%.1f ", x, y);
    }
    sn_buf_puts(out, "\"/>\n</svg>\n");
}

sn_status sn_metrics_report(const sn_metrics *m, const char *folder, sn_error *error) {
    sn_buf out = {0};
    char *path = sn_path_join(folder, "report.html");
    sn_buf_puts(&out, "<!doctype html>\n<meta charset=\"utf-8\">\n<title>Training run</title>\n<style>body{font:15px sans-serif;margin:2em}svg{overflow:visible}.frame{fill:none;stroke:#bbb}"
                      "polyline{fill:none;stroke:#06c;stroke-width:1.5}text{font-size:12px;fill:#555}.y{text-anchor:end}</style>\n");
    draw(&out, "Loss over the steps", m->loss, m->count);
    draw(&out, "Learning rate over the steps", m->lr, m->count);
    sn_status status = !path || out.failed ? sn_fail_memory(error) : sn_write_file(path, out.data, out.length, error);
    sn_buf_free(&out);
    sn_free(path);
    return status;
}
