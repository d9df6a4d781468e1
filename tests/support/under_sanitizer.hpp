// Whether this program is built with AddressSanitizer or ThreadSanitizer, which g++ and clang 14
// say in different ways: ISOFLOP_UNDER_ASAN and ISOFLOP_UNDER_TSAN are defined or not.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ISOFLOP_UNDER_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define ISOFLOP_UNDER_TSAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(ISOFLOP_UNDER_ASAN)
#define ISOFLOP_UNDER_ASAN
#endif
#if defined(__SANITIZE_THREAD__) && !defined(ISOFLOP_UNDER_TSAN)
#define ISOFLOP_UNDER_TSAN
#endif
