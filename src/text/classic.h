/* Tokenizers whose chain is known without a tokenizer.json. */
#ifndef SN_TEXT_CLASSIC_H
#define SN_TEXT_CLASSIC_H

#include "text/chain.h"

typedef enum sn_classic { SN_CLASSIC_GPT2, SN_CLASSIC_CLIP, SN_CLASSIC_CLIP_ORIGINAL, SN_CLASSIC_BERT } sn_classic;

/* Normaliser, splitter, decoder, special tokens and frame of a kind, for a chain that has its vocabulary and model. */
sn_status sn_classic_links(sn_chain *c, const char *path, sn_classic kind, bool lowercase, sn_error *error);
/* [CLS] a [SEP] b [SEP], and BERT's special tokens. */
sn_status sn_classic_bert_frame(sn_tokenizer *t, const char *path, sn_error *error);

/* vocab.json with the merges.txt beside it; vocab.txt. */
sn_status sn_classic_read_bpe(sn_tokenizer *t, const char *path, sn_error *error);
sn_status sn_classic_read_wordpiece(sn_tokenizer *t, const char *path, sn_error *error);

/* bpe_simple_vocab_16e6.txt.gz, with OpenAI's own cleaning of the text. */
sn_status sn_clip_original_read(sn_tokenizer *t, const char *path, sn_error *error);

/* An object of pieces and ids (huggingface.c). */
sn_status sn_vocabulary_read_object(sn_tokenizer *t, const char *path, const json_t *vocabulary, sn_error *error);

#endif
