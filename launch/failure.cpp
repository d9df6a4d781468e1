#include "launch/failure.hpp"

#include "launch/context.hpp"

#include <new>
#include <system_error>

namespace isoflop {

Failure current_failure() {
  try {
    throw;
  } catch (const BrokenPipe&) {
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::kIo, "out of memory"};
  } catch (const std::system_error& error) {  // also filesystem_error
    return {ExitCode::kIo, error.what()};
  } catch (const std::exception& error) {
    return {ExitCode::kBug, fmt::format("this is a bug in isoflop: {}", error.what())};
  } catch (...) {
    return {ExitCode::kBug, "this is a bug in isoflop: something unknown was thrown"};
  }
}

}  // namespace isoflop
