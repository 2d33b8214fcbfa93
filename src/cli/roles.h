/* The options by which every command takes a model: MODEL, or the files of its parts by role. */
#ifndef SN_CLI_ROLES_H
#define SN_CLI_ROLES_H

#include "systems/model.h"

/* Text for --help. */
#define SN_ROLES_HELP \
    "  --llm PATH         the language model's folder\n" \
    "  --vision PATH      the vision tower's folder or file\n" \
    "  --connector FILE   a projector in a file of its own (mm_projector.bin)\n" \
    "  --base PATH        the base model of a delta or of LoRA files\n" \
    "  --delta PATH       a delta on the base model\n" \
    "  --tokenizer PATH   another tokenizer's folder or file\n" \
    "  --models DIR       where parts that a model names are looked for\n" \
    "  --system NAME      what the files are, where they do not say it themselves\n"

/* Takes argv[*i] and its value where it is one of these options, moves *i to the value and sets *taken. A missing
 * value is an error. */
sn_status sn_role_option(int argc, char **argv, int *i, sn_model_files *files, bool *taken, sn_error *error);

#endif
