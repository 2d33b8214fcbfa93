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

/* --compute. */
extern const sn_option sn_compute_options[];
sn_status sn_arguments_compute(const sn_arguments *arguments, sn_compute *compute, sn_error *error);

/* --threads; 0 = as many as this process may use. */
extern const sn_option sn_engine_options[];
sn_status sn_arguments_threads(const sn_arguments *arguments, int *threads, sn_error *error);

#endif
