// The header in C++: it compiles without warnings and links with C names.
#include <sensorium/sensorium.h>

#include <cstring>
#include <memory>

int main() {
    std::unique_ptr<sn_error, void (*)(sn_error *)> error(sn_error_new(), sn_error_free);
    sn_context *context = nullptr;
    if (sn_context_new(1, &context, error.get()) != SN_OK) return 1;
    sn_assistant *assistant = nullptr;
    sn_status status = sn_assistant_open_path(context, "/no/such/place", &assistant, error.get());
    sn_context_free(context);
    return status == SN_ERROR_IO && !assistant && std::strstr(sn_error_message(error.get()), "/no/such/place") && sn_version()[0] ? 0 : 1;
}
