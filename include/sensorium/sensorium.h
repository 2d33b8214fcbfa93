/* libsensorium: multimodal assistants from their published checkpoints.
 *
 *     sn_error *error = sn_error_new();
 *     sn_context *context = NULL;
 *     sn_assistant *assistant = NULL;
 *     sn_chat *chat = NULL;
 *     if (sn_context_new(0, &context, error) || sn_assistant_open_path(context, "llava-1.5-7b-hf", &assistant, error) ||
 *         sn_chat_new(assistant, NULL, &chat, error) || sn_chat_add_picture(chat, "cat.jpg", error) ||
 *         sn_chat_add_text(chat, "What is this?", error) || sn_chat_answer(chat, NULL, NULL, error))
 *         puts(sn_error_message(error));
 *     else
 *         puts(sn_chat_part_text(chat, 0));
 *
 * Every handle is opaque. What a function makes (`_new`, `_open`) is given back by its `_free` or `_close`, which
 * accept NULL. A handle must outlive what was made from it: context, assistant, chat. Texts are UTF-8 and end with
 * NUL; texts and paths handed in are copied; texts handed out belong to the handle they come from.
 *
 * A function that can fail returns sn_status and fills the sn_error (which may be NULL: then only the status tells).
 * Its out parameter is NULL after a failure. The library never prints, never ends the process, and installs no signal
 * handlers.
 *
 * Threads: one handle is used by one thread at a time, except sn_chat_cancel, which may come from any thread. Chats
 * of one context may be used from several threads; their computations take turns. Callbacks run on the thread that
 * made the call, before it returns, and must not call the library with the same context (they may call
 * sn_chat_cancel). */
#ifndef SENSORIUM_SENSORIUM_H
#define SENSORIUM_SENSORIUM_H

#include "sensorium/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---- */

/* "major.minor.patch". The soname changes with what is binary incompatible. Constant. */
SN_API const char *sn_version(void);

/* What this build and this machine can do, as one line: "kernels avx512; built with openmp png torch". Writes at most size
 * bytes with a NUL at the end and returns the length that the whole line has, as snprintf does; text may be NULL
 * where size is 0. */
SN_API size_t sn_features(char *text, size_t size);

/* ---- errors ---- */

/* An error to be filled by calls; NULL without memory, which every call accepts. */
SN_API sn_error *sn_error_new(void);
SN_API void sn_error_free(sn_error *error);

/* Of the last call that failed: its status, and one line for a person (file: field: what was found, what was
 * expected). SN_OK and "" before any failure. A call that succeeds leaves both as they were. The text lives until
 * the next failure. */
SN_API sn_status sn_error_status(const sn_error *error);
SN_API const char *sn_error_message(const sn_error *error);

/* ---- context: threads, kernels, memory ---- */

typedef struct sn_context sn_context;

/* threads 0 = as many as this process may use (affinity, cgroup quota). */
SN_API sn_status sn_context_new(int threads, sn_context **out, sn_error *error);
/* What matrices are multiplied in: "f32", "bf16" (what the model computes is rounded to it, sums are f32) or "auto" (as
 * at first: bf16 for models stored in bf16, f32 otherwise). For chats that are
 * made afterwards. SN_ERROR_USAGE for another word. */
SN_API sn_status sn_context_set_compute(sn_context *context, const char *type, sn_error *error);
/* After the assistants that were opened in it. */
SN_API void sn_context_free(sn_context *context);

/* Warnings about files that are usable but odd, one line each; NULL = not wanted (as at first). `user` is handed
 * through. */
typedef void sn_log_callback(void *user, const char *message);
SN_API void sn_context_set_log(sn_context *context, sn_log_callback *on_log, void *user);

/* What long calls are at: "open", "answer" (ids chosen so far, of at most total). NULL = not wanted (as at first). */
typedef void sn_progress_callback(void *user, const char *what, int64_t done, int64_t total);
SN_API void sn_context_set_progress(sn_context *context, sn_progress_callback *on_progress, void *user);

/* ---- assistants: opened checkpoints ---- */

/* Which files make a model, by role: "main" (a folder or file that holds everything), "llm", "vision", "connector",
 * "base", "delta", "tokenizer"; "models" is a folder where parts that a model names are looked for, "system" a name that
 * says what the files are where they do not say it themselves. docs/models.md lists what each layout needs. */
typedef struct sn_files sn_files;
/* NULL without memory. */
SN_API sn_files *sn_files_new(void);
SN_API void sn_files_free(sn_files *files);
/* SN_ERROR_USAGE for a role that is not in the list above. A role set twice keeps the later path. */
SN_API sn_status sn_files_set(sn_files *files, const char *role, const char *path, sn_error *error);

/* A checkpoint: weights (mapped, read when they are needed), tokenizer, template. Constant once it is open. */
typedef struct sn_assistant sn_assistant;

/* Opens the files as the system they are. SN_ERROR_INPUT where they are no model, or one whose tensors are missing or
 * misshapen; SN_ERROR_SUPPORT where this version cannot run it. files may be freed afterwards. */
SN_API sn_status sn_assistant_open(sn_context *context, const sn_files *files, sn_assistant **out, sn_error *error);
/* The same for one path: the role "main". */
SN_API sn_status sn_assistant_open_path(sn_context *context, const char *path, sn_assistant **out, sn_error *error);
/* After the chats and embeddings that were made from it. */
SN_API void sn_assistant_close(sn_assistant *assistant);

/* The system ("LLaVA"), the layout it was published in ("Hugging Face"), and what it was recognised by. */
SN_API const char *sn_assistant_system(const sn_assistant *assistant);
SN_API const char *sn_assistant_layout(const sn_assistant *assistant);
SN_API const char *sn_assistant_reason(const sn_assistant *assistant);
/* Whether it can answer, and whether it takes pictures. */
SN_API bool sn_assistant_answers(const sn_assistant *assistant);
SN_API bool sn_assistant_sees(const sn_assistant *assistant);
/* Positions that a conversation and its answer may take together, and those that one picture takes; 0 = none. */
SN_API int64_t sn_assistant_window(const sn_assistant *assistant);
SN_API int64_t sn_assistant_picture_positions(const sn_assistant *assistant);

/* ---- options by name ---- */

/* How answers are generated. At first: the temperature of the system's published script, seed 0, at most 512 new
 * tokens, everything else off. */
typedef struct sn_options sn_options;
/* NULL without memory. */
SN_API sn_options *sn_options_new(void);
SN_API void sn_options_free(sn_options *options);

/* Sets one option, both as text in the C locale ("temperature", "0.2"). SN_ERROR_USAGE names the option, its range
 * and what was found. Beside those of generation (docs/library.md): "stop" (a text that ends the answer; each call
 * adds one, 15 at most), "template" (a name), "exif" (turn pictures as their EXIF orientation
 * says: "apply", the default, or "ignore"), "alpha" (transparent pictures: over "white", the default, or "drop"). */
SN_API sn_status sn_options_set(sn_options *options, const char *name, const char *value, sn_error *error);

/* ---- chats ---- */

/* One conversation with an assistant. */
typedef struct sn_chat sn_chat;

/* options may be NULL (the defaults) and are copied. SN_ERROR_SUPPORT where the assistant cannot answer. */
SN_API sn_status sn_chat_new(sn_assistant *assistant, const sn_options *options, sn_chat **out, sn_error *error);
SN_API void sn_chat_free(sn_chat *chat);

/* Replaces the template's system sentence. SN_ERROR_USAGE once a message was answered. */
SN_API sn_status sn_chat_set_system(sn_chat *chat, const char *text, sn_error *error);

/* Adds to the user's message that the next answer is about, in this order. A path may also be a data URL
 * ("data:image/png;base64,…"). Pictures are decoded here: PNG, and what sn_features names beside. Pixels are RGB, 8 bits,
 * rows from the top, 3 * width * height bytes, and lie as they are to be seen. All ways give the same bits. A picture in
 * memory is not needed after the call. */
SN_API sn_status sn_chat_add_text(sn_chat *chat, const char *text, sn_error *error);
SN_API sn_status sn_chat_add_picture(sn_chat *chat, const char *path, sn_error *error);
SN_API sn_status sn_chat_add_picture_bytes(sn_chat *chat, const void *bytes, size_t size, sn_error *error);
SN_API sn_status sn_chat_add_picture_pixels(sn_chat *chat, const unsigned char *rgb, int64_t width, int64_t height, sn_error *error);

/* Called with each stretch of new text as it becomes certain: whole characters, nothing that may still become a stop
 * text. Not NUL-terminated. The stretches joined are the answer before blanks at its ends are removed. */
typedef void sn_text_callback(void *user, const char *text, size_t length);

/* Answers the message; on_text may be NULL. Afterwards the message and the answer are part of the conversation. After
 * a failure, or where nothing was said, the conversation is what it was before the message was begun. A cancelled
 * answer is no failure: what was said until then stays. */
SN_API sn_status sn_chat_answer(sn_chat *chat, sn_text_callback *on_text, void *user, sn_error *error);

/* Asks the answer that is being made to stop soon; from any thread. Does nothing where none is being made. */
SN_API void sn_chat_cancel(sn_chat *chat);

/* Forgets all messages, the pending one included; the system sentence and the options stay. */
SN_API void sn_chat_reset(sn_chat *chat);

/* Where the pictures of an answer are found, for models that answer with pictures (FROMAGe): my.db of `sensorium
 * index`, or published embeddings (cc3m_embeddings*.pkl, a folder of them, or a pattern). NULL: nowhere. An error for models of
 * text alone, or for a gallery of another model. A picture of an answer that is not there any more, or cannot be read, is
 * named to the log callback, and the next best one takes its place. */
SN_API sn_status sn_chat_set_gallery(sn_chat *chat, const char *path, sn_error *error);

/* The last answer, a list of parts: one text, or texts and the pictures that belong behind them. */
typedef enum sn_part_kind {
    SN_PART_NONE = 0, /* no such part */
    SN_PART_TEXT,
    SN_PART_PICTURE, /* of the gallery */
} sn_part_kind;
SN_API int sn_chat_num_parts(const sn_chat *chat);
SN_API sn_part_kind sn_chat_part_kind(const sn_chat *chat, int part);
/* NULL where the part is no text. Lives until the next answer, reset or free. */
SN_API const char *sn_chat_part_text(const sn_chat *chat, int part);

/* A picture's path or address as the gallery has it, NULL where the part is none; and how well it fits what was asked for,
 * from -1 to 1 (0 where the part is no picture). */
SN_API const char *sn_chat_part_path(const sn_chat *chat, int part);
SN_API double sn_chat_part_score(const sn_chat *chat, int part);

/* Why the last answer ended. */
typedef enum sn_finish {
    SN_FINISH_NONE = 0, /* there is no answer */
    SN_FINISH_STOP,     /* the model, or a stop text */
    SN_FINISH_LENGTH,   /* max_new_tokens, or the window is full */
    SN_FINISH_CANCELLED, /* sn_chat_cancel */
} sn_finish;
SN_API sn_finish sn_chat_finish(const sn_chat *chat);

/* ---- embeddings ---- */

/* What a picture becomes before the language model sees it: connector output, float32 [rows, columns], row-major,
 * rows = sn_assistant_picture_positions, columns = hidden size of the language model. */
typedef struct sn_embedding sn_embedding;

/* SN_ERROR_SUPPORT where the assistant takes no pictures. Pictures are taken as in a chat with default options. */
SN_API sn_status sn_embed_picture(sn_assistant *assistant, const char *path, sn_embedding **out, sn_error *error);
SN_API sn_status sn_embed_picture_bytes(sn_assistant *assistant, const void *bytes, size_t size, sn_embedding **out, sn_error *error);
SN_API void sn_embedding_free(sn_embedding *embedding);
SN_API int64_t sn_embedding_rows(const sn_embedding *embedding);
SN_API int64_t sn_embedding_columns(const sn_embedding *embedding);
/* rows * columns numbers that live as long as the embedding. */
SN_API const float *sn_embedding_data(const sn_embedding *embedding);

#ifdef __cplusplus
}
#endif

#endif
