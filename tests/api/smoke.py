"""The shared library from Python with nothing but ctypes: smoke.py LIBRARY MODEL PICTURE."""
import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p

library, model, picture = sys.argv[1:]
sn = ctypes.CDLL(library)
for name in ("sn_version", "sn_error_message", "sn_chat_part_text", "sn_assistant_system"):
    getattr(sn, name).restype = c_char_p
for name in ("sn_error_new", "sn_options_new"):
    getattr(sn, name).restype = c_void_p
TEXT = ctypes.CFUNCTYPE(None, c_void_p, POINTER(ctypes.c_char), c_size_t)

error, options = c_void_p(sn.sn_error_new()), c_void_p(sn.sn_options_new())


def check(status):
    if status:
        sys.exit(sn.sn_error_message(error).decode())


context, assistant, chat = c_void_p(), c_void_p(), c_void_p()
check(sn.sn_options_set(options, b"max_new_tokens", b"8", error))
check(sn.sn_context_new(c_int(1), byref(context), error))
check(sn.sn_assistant_open_path(context, model.encode(), byref(assistant), error))
check(sn.sn_chat_new(assistant, options, byref(chat), error))
check(sn.sn_chat_add_picture(chat, picture.encode(), error))
check(sn.sn_chat_add_text(chat, "Что это?".encode(), error))
heard = []
check(sn.sn_chat_answer(chat, TEXT(lambda user, text, length: heard.append(text[:length])), None, error))
answer = sn.sn_chat_part_text(chat, 0).decode()
assert b"".join(heard).decode().strip() == answer.strip(), (heard, answer)
assert sn.sn_options_set(options, b"temperature", b"hot", error) and "temperature" in sn.sn_error_message(error).decode()
print(sn.sn_version().decode(), sn.sn_assistant_system(assistant).decode(), answer)
sn.sn_chat_free(chat)
sn.sn_assistant_close(assistant)
sn.sn_context_free(context)
sn.sn_options_free(options)
sn.sn_error_free(error)
