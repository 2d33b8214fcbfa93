/* Learning a vocabulary: byte pair encoding (Sennrich et al., arXiv 1508.07909) from text of one's own.
 *
 * Two kinds, each written in the files that others read: SentencePiece-style with byte fallback (tokenizer.model, as
 * LLaMA's) and byte-level (vocab.json and merges.txt, as GPT-2's). The same text and options give the same files. */
#ifndef SN_TEXT_TRAINER_H
#define SN_TEXT_TRAINER_H

#include "base/error.h"
#include "base/memory.h"

typedef enum sn_trainer_kind { SN_TRAINER_SENTENCEPIECE, SN_TRAINER_BYTE_LEVEL } sn_trainer_kind;

typedef struct sn_tokenizer_trainer sn_tokenizer_trainer;

/* vocab_size: all ids, special ones and bytes included (SentencePiece: at least 3 + 256 + the characters kept). */
sn_tokenizer_trainer *sn_tokenizer_trainer_new(sn_trainer_kind kind);
void sn_tokenizer_trainer_free(sn_tokenizer_trainer *trainer);

/* Counts the words of a text (UTF-8); may be called any number of times. */
sn_status sn_tokenizer_trainer_add(sn_tokenizer_trainer *trainer, const char *text, size_t length, sn_error *error);

/* Learns merges until the vocabulary has that size (or nothing is left to merge) and writes the files into a folder that
 * exists. coverage: share of all character occurrences that get a piece of their own (SentencePiece; rarer ones become
 * bytes). *learnt gets the number of ids. */
sn_status sn_tokenizer_trainer_write(sn_tokenizer_trainer *trainer, int vocab_size, double coverage, const char *folder, int *learnt, sn_error *error);

#endif
