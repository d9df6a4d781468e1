// A library of CUDA that is loaded when it is first needed, so that a program starts without it.
#pragma once
#include <string>

namespace isoflop::gpu {

class SharedLibrary {
 public:
  /// `file` ("libcudnn.so.9") where the loader looks, else where the toolkit of the build has it.
  SharedLibrary(const std::string& name, const std::string& file);
  /// Null, and a problem, when there is none.
  void* find(const char* function);
  /// Why it cannot be used, and what to do; empty when it can.
  const std::string& problem() const { return problem_; }

 private:
  std::string file_, problem_;
  void* library_;  // stays loaded
};

}  // namespace isoflop::gpu
