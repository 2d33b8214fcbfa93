/* Options that several commands share: a model's files, how its answers are generated, how pictures are read. */
#ifndef SN_CLI_COMMON_H
#define SN_CLI_COMMON_H

#include "cli/arguments.h"
#include "runtime/engine.h"
#include "generate/options.h"
#include "media/image.h"
#include "systems/model.h"

/* The files of a model's parts by role: --llm, --vision, --connector, … */
extern const sn_option sn_model_options[];
/* main: the MODEL argument, or NULL where parts are given instead. Strings are borrowed. */
sn_status sn_arguments_model(const sn_arguments *arguments, const char *main, sn_model_files *out, sn_error *error);

/* --temperature … --stop; values are checked by generate/options.h. */
extern const sn_option sn_generation_options[];
sn_status sn_arguments_generation(const sn_arguments *arguments, sn_generate_options *options, sn_error *error);

/* --exif, --alpha: as people expect it unless they ask for what the published code does. */
extern const sn_option sn_picture_options[];
sn_status sn_arguments_pictures(const sn_arguments *arguments, sn_image_options *options, sn_error *error);

/* Standard input as the picture that "-" means among the values of some options (NULL ends their names): its bytes as a
 * data URL in *url, which stays empty where nothing asks for it; sn_buf_free. Refused are a second "-", a terminal, what is
 * no picture, and, with the reason, all where `taken` says what standard input is for. */
sn_status sn_arguments_standard_picture(const sn_arguments *arguments, const char *const *names, const char *taken, sn_buf *url, sn_error *error);
/* A value of such an option: itself, or that URL for "-". */
const char *sn_picture_argument(const char *path, const sn_buf *url);

/* All of standard input. */
sn_status sn_read_standard_input(size_t limit, sn_buf *out, sn_error *error);

/* --compute. */
extern const sn_option sn_compute_options[];
sn_status sn_arguments_compute(const sn_arguments *arguments, sn_compute *compute, sn_error *error);

/* --threads; 0 = as many as this process may use. */
extern const sn_option sn_engine_options[];
sn_status sn_arguments_threads(const sn_arguments *arguments, int *threads, sn_error *error);

#endif
