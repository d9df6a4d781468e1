#include "report/tensorboard.hpp"

#include "core/error.hpp"
#include "report/crc32c.hpp"
#include "report/tensorboard.pb.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

namespace isoflop {

namespace {

constexpr int32_t kStringTensor = 7;  // DT_STRING

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class T>
void append_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i));
}

tensorboard::Event event_at(int64_t step) {
  tensorboard::Event event;
  event.set_wall_time(unix_seconds());
  event.set_step(step);
  return event;
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0) return "localhost";
  return name;
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const fs::path& directory, int64_t step) {
  std::error_code error;
  fs::create_directories(directory, error);
  // The viewer reads files in the order of their names: two starts within a second must not
  // collide.
  auto time = static_cast<int64_t>(unix_seconds());
  const std::string host = host_name();
  fs::path path;
  do {
    path = directory / fmt::format("events.out.tfevents.{}.{}", time++, host);
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail_user("cannot create {}: {}", path.string(), std::strerror(errno));
  tensorboard::Event version = event_at(0);
  version.set_file_version("brain.Event:2");
  write_record(version.SerializeAsString());
  // Viewers take the first START of a folder for the beginning; each later one drops the points at
  // its own step and above. What was logged at `step` itself is older than the checkpoint: it
  // stays.
  tensorboard::Event start = event_at(step + 1);
  start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  write_record(start.SerializeAsString());
}

TensorBoardWriter::~TensorBoardWriter() {
  ::close(fd_);
}

bool TensorBoardWriter::write_record(std::string_view payload) {
  std::string record;
  append_little_endian(record, static_cast<uint64_t>(payload.size()));
  append_little_endian(record, masked_crc32c(record));
  record += payload;
  append_little_endian(record, masked_crc32c(payload));
  ssize_t wrote = 0;
  do {
    wrote = ::write(fd_, record.data(), record.size());
  } while (wrote < 0 && errno == EINTR);
  return wrote == static_cast<ssize_t>(record.size());
}

bool TensorBoardWriter::scalars(int64_t step, std::span<const Metric> metrics) {
  tensorboard::Event event = event_at(step);
  for (const Metric& metric : metrics) {
    tensorboard::Summary::Value* value = event.mutable_summary()->add_value();
    value->set_tag(std::string(metric.name));
    value->set_simple_value(static_cast<float>(metric.value));
  }
  return write_record(event.SerializeAsString());
}

bool TensorBoardWriter::text(int64_t step, std::string_view tag, std::string_view markdown) {
  tensorboard::Event event = event_at(step);
  tensorboard::Summary::Value* value = event.mutable_summary()->add_value();
  value->set_tag(std::string(tag));
  value->mutable_metadata()->mutable_plugin_data()->set_plugin_name("text");
  tensorboard::Tensor* tensor = value->mutable_tensor();
  tensor->set_dtype(kStringTensor);
  tensor->mutable_tensor_shape()->add_dim()->set_size(1);
  tensor->add_string_val(std::string(markdown));
  return write_record(event.SerializeAsString());
}

}  // namespace isoflop
