/* A request as JSON writes it: model, messages or prompt, options (the shape of an OpenAI chat request). */
#ifndef SN_CLI_REQUEST_H
#define SN_CLI_REQUEST_H

#include "base/json.h"
#include "generate/options.h"
#include "systems/model.h"

/* Reads `messages` or `prompt` of an object; paths become relative to `folder`. Strings live in the arena. */
sn_status sn_request_read(const char *where, const json_t *object, const char *folder, sn_arena *arena, sn_request *out, sn_error *error);

/* Reads `model` (paths by role) or takes folder/model. */
sn_status sn_request_files(const char *where, const json_t *object, const char *folder, sn_arena *arena, sn_model_files *out, sn_error *error);

/* Options of `object` that generation knows; `stop` is a string or a list. */
sn_status sn_request_options(const char *where, const json_t *object, sn_generate_options *options, sn_error *error);

#endif
