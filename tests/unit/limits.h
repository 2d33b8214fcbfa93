/* Less memory than the machine has, so that a reader that takes too much fails. */
#ifndef SN_TESTS_LIMITS_H
#define SN_TESTS_LIMITS_H

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
#define SN_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SN_SANITIZED 1
#endif
#endif

static inline void limit_address_space(rlim_t bytes) {
#ifndef SN_SANITIZED /* whose shadow takes terabytes of addresses */
    setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
#endif
}

#endif
