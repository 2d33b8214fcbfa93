/* Kitty's protocol takes RGB in base64, sixel six rows at a time in a palette; both after shrinking to a few hundred
 * pixels. */
#include "cli/show.h"

#include "base/base64.h"
#include "base/file.h"
#include "cli/terminal.h"
#include "media/jpeg_writer.h"
#include "media/resize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { WIDEST = 320, CHUNK = 4096 };

static void add_kitty(sn_buf *out, const sn_image *p) {
    sn_buf data = {0};
    sn_base64_add(&data, p->pixels, 3 * (size_t)p->width * (size_t)p->height);
    for (size_t at = 0; at < data.length; at += CHUNK) {
        size_t length = data.length - at < CHUNK ? data.length - at : CHUNK;
        if (at == 0) sn_buf_printf(out, "\033_Ga=T,f=24,s=%d,v=%d,m=%d;", p->width, p->height, length < data.length);
        else sn_buf_printf(out, "\033_Gm=%d;", at + length < data.length);
        sn_buf_add(out, data.data + at, length);
        sn_buf_puts(out, "\033\\");
    }
    sn_buf_puts(out, "\n");
    sn_buf_free(&data);
}

/* 6 x 6 x 6 colours. */
static int colour_at(const sn_image *p, int x, int y) {
    const uint8_t *c = p->pixels + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
    return (c[0] * 5 + 127) / 255 * 36 + (c[1] * 5 + 127) / 255 * 6 + (c[2] * 5 + 127) / 255;
}

static void add_sixel(sn_buf *out, const sn_image *p) {
    sn_buf_puts(out, "\033Pq");
    for (int i = 0; i < 216; i++) sn_buf_printf(out, "#%d;2;%d;%d;%d", i, i / 36 * 20, i / 6 % 6 * 20, i % 6 * 20);
    for (int top = 0; top < p->height; top += 6) {
        bool there[216] = {false};
        int rows = p->height - top < 6 ? p->height - top : 6;
        for (int y = 0; y < rows; y++)
            for (int x = 0; x < p->width; x++) there[colour_at(p, x, top + y)] = true;
        for (int i = 0; i < 216; i++) {
            if (!there[i]) continue;
            sn_buf_printf(out, "#%d", i);
            for (int x = 0; x < p->width; x++) {
                char bits = 0;
                for (int y = 0; y < rows; y++) bits |= (char)((colour_at(p, x, top + y) == i) << y);
                sn_buf_add(out, &(char){(char)(bits + 63)}, 1);
            }
            sn_buf_puts(out, "$");
        }
        sn_buf_puts(out, "-");
    }
    sn_buf_puts(out, "\033\\\n");
}

static bool open_small(const char *path, sn_image *out) {
    static const sn_image_options upright = {.exif_apply = true, .alpha_white = true};
    sn_image image;
    if (sn_image_open(path, &upright, &image, NULL)) return false;
    int longest = image.width > image.height ? image.width : image.height;
    double factor = longest > WIDEST ? (double)WIDEST / longest : 1;
    int width = (int)(image.width * factor), height = (int)(image.height * factor);
    width += width < 1, height += height < 1;
    sn_resize r = {.width = width, .height = height, .columns = width, .rows = height, .filter = SN_FILTER_BICUBIC};
    bool ok = !sn_image_resize(&image, &r, out, NULL);
    sn_image_free(&image);
    return ok;
}

void sn_show_picture(sn_show how, const char *path) {
    sn_image image;
    sn_buf text = {0};
    if (how == SN_SHOW_OFF) return;
    sn_terminal_pictures shows = how == SN_SHOW_INLINE ? sn_terminal_shows() : SN_PICTURES_NONE;
    if (shows && open_small(path, &image)) {
        if (shows == SN_PICTURES_KITTY) add_kitty(&text, &image);
        else add_sixel(&text, &image);
        sn_image_free(&image);
    }
    if (!text.failed && text.length) sn_print(text.data, text.length);
    sn_buf_free(&text);
    if (sn_print_text(path, strlen(path))) sn_print("\n", 1);
}

bool sn_add_thumbnail(sn_buf *page, const char *path) {
    sn_image image;
    sn_buf bytes = {0};
    if (!open_small(path, &image)) return false;
    bool ok = sn_jpeg_write(&image, 80, &bytes);
    if (ok) {
        sn_buf_puts(page, "data:image/jpeg;base64,");
        sn_base64_add(page, bytes.data, bytes.length);
    }
    sn_image_free(&image);
    sn_buf_free(&bytes);
    return ok;
}

/* ---- the page ---- */

static void add_escaped(sn_buf *out, const char *text) {
    for (; *text; text++) {
        const char *as = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : NULL;
        if (as) sn_buf_puts(out, as);
        else sn_buf_add(out, text, 1);
    }
}

/* The file's own bytes where a browser knows them by name; an address stays one. */
static void add_picture(sn_buf *out, const char *path) {
    static const struct { const char *end, *kind; } kinds[] = {{".png", "png"}, {".jpg", "jpeg"}, {".jpeg", "jpeg"}, {".gif", "gif"}, {".webp", "webp"}, {".bmp", "bmp"}};
    const char *dot = strrchr(path, '.'), *kind = NULL;
    char *bytes = NULL;
    size_t length = 0;
    for (size_t i = 0; dot && i < sizeof kinds / sizeof *kinds; i++)
        if (strcasecmp(dot, kinds[i].end) == 0) kind = kinds[i].kind;
    bool inside = kind && sn_is_file(path) && !sn_read_file(path, 64 << 20, &bytes, &length, NULL);
    sn_buf_puts(out, "<figure><img alt=\"\" src=\"");
    if (inside) {
        sn_buf_printf(out, "data:image/%s;base64,", kind);
        sn_base64_add(out, bytes, length);
    } else {
        add_escaped(out, path);
    }
    sn_buf_puts(out, "\"><figcaption>");
    add_escaped(out, path);
    sn_buf_puts(out, "</figcaption></figure>\n");
    if (inside) sn_free(bytes);
}

sn_status sn_page_write(const char *file, sn_buf *page, const char *question, const sn_parts *parts, sn_error *error) {
    static const char head[] = "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>A conversation</title>\n"
                               "<style>body{font:16px/1.5 sans-serif;max-width:40em;margin:2em auto;padding:0 1em}.q{font-weight:bold}img{max-width:100%}figure{margin:1em 0}figcaption{color:#666;font-size:80%}</style>\n";
    if (!page->length) sn_buf_puts(page, head);
    sn_buf_puts(page, "<p class=\"q\">");
    add_escaped(page, question);
    sn_buf_puts(page, "</p>\n");
    for (size_t i = 0; i < parts->count; i++) {
        if (parts->items[i].is_picture) {
            add_picture(page, parts->items[i].text);
            continue;
        }
        sn_buf_puts(page, "<p>");
        add_escaped(page, parts->items[i].text);
        sn_buf_puts(page, "</p>\n");
    }
    return page->failed ? sn_fail_memory(error) : sn_write_file(file, page->data, page->length, error);
}
