#include "parallel/tcp_link.hpp"

#include "core/error.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace isoflop {

namespace {

constexpr size_t kTurnBytes = size_t{1} << 20;  // of one link, before others have theirs
constexpr int kMostRetransmits = 6;             // doubling from 0.2 s: about 13 s

}  // namespace

TcpLink::TcpLink(int socket, std::string who)
    : socket_(socket), who_(std::move(who)), self_(socket < 0), sending_(sends_.end()) {
  // A host that vanishes says nothing: ask it.
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(socket_, level, option, &value, sizeof(value));
  };
  if (self_) return;
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 3);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

void TcpLink::fail_gone(const char* how) const {
  fail_io("{} is gone: {}", who_, how);
}

void TcpLink::send(Key key, const void* data, size_t bytes, int* open) {
  ++*open;
  const auto* from = static_cast<const char*>(data);
  if (self_) {
    if (!deliver(key, from, bytes)) arrived_.emplace(key, std::string(from, bytes));
    --*open;
    return;
  }
  const bool wanted = wanted_.erase(key) > 0;
  sends_.push_back({key, from, bytes, 0, wanted, open});
  if (socket_ < 0) fail_gone("it has ended, and a message is for it");
}

void TcpLink::receive(Key key, void* data, size_t bytes, int* open) {
  ++*open;
  receives_.emplace(key, Receive{static_cast<char*>(data), bytes, 0, open});
  if (!self_) {
    const Frame frame{Kind::want, 0, key.first, key.second, bytes};
    control_.append(reinterpret_cast<const char*>(&frame), sizeof(frame));
  }
  meet(key);
  if (!self_ && socket_ < 0 && receives_.count(key))
    fail_gone("it has ended, and a message is waited for");
}

void TcpLink::say(Kind kind, uint64_t value) {
  const Frame frame{kind, 0, 0, value, 0};
  control_.append(reinterpret_cast<const char*>(&frame), sizeof(frame));
}

void TcpLink::drop() {
  dropped_ = true;
  // A frame that has begun must have its length. What it brings is of no use to anyone.
  head_.append(body_left_, '\0');
  body_left_ = 0;
  if (in_left_ > 0 && !is_aside_) {
    aside_.resize(in_left_);
    in_ = aside_.data();
    is_aside_ = true;
  }
  sends_.clear();
  sending_ = sends_.end();
  receives_.clear();
}

bool TcpLink::may_go(const Send& send) const {
  return send.wanted || send.bytes + sizeof(Frame) <= kAheadBytes - ahead_bytes_;
}

bool TcpLink::has_output() {
  if (socket_ < 0) return false;
  if (head_at_ == head_.size() && body_left_ == 0) begin_next();
  return !head_.empty();
}

/// What is left least goes first: of equals the oldest, so that it has arrived before the next.
void TcpLink::begin_next() {
  head_.swap(control_);
  control_.clear();
  head_at_ = 0;
  const auto left = [](const Send& send) { return send.bytes - send.sent; };
  for (auto each = sends_.begin(); each != sends_.end(); ++each)
    if (may_go(*each) && (sending_ == sends_.end() || left(*each) < left(*sending_)))
      sending_ = each;
  if (sending_ == sends_.end()) return;
  Send& send = *sending_;
  if (!send.wanted) {
    ahead_[send.key] = send.bytes + sizeof(Frame);
    ahead_bytes_ += send.bytes + sizeof(Frame);
  }
  const size_t bytes = std::min(kFrameBytes, left(send));
  const Frame frame{Kind::data, static_cast<uint32_t>(bytes), send.key.first, send.key.second,
                    send.bytes};
  head_.append(reinterpret_cast<const char*>(&frame), sizeof(frame));
  body_ = send.data + send.sent;
  body_left_ = bytes;
  send.sent += bytes;
}

void TcpLink::write() {
  for (size_t turn = 0; turn < kTurnBytes && has_output();) {
    iovec parts[] = {{head_.data() + head_at_, head_.size() - head_at_},
                     {const_cast<char*>(body_), body_left_}};
    msghdr message = {};
    message.msg_iov = parts;
    message.msg_iovlen = body_left_ > 0 ? 2 : 1;
    const ssize_t moved = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (moved < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (moved < 0) fail_gone(std::strerror(errno));
    const auto bytes = static_cast<size_t>(moved);
    const size_t of_head = std::min(bytes, parts[0].iov_len);
    head_at_ += of_head;
    body_ += bytes - of_head;
    body_left_ -= bytes - of_head;
    turn += bytes;
    if (head_at_ == head_.size() && body_left_ == 0) end_written();
  }
}

void TcpLink::end_written() {
  head_.clear();
  head_at_ = 0;
  if (sending_ != sends_.end() && sending_->sent == sending_->bytes) {
    --*sending_->open;
    sends_.erase(sending_);
  }
  sending_ = sends_.end();
}

void TcpLink::read() {
  for (size_t turn = 0; turn < kTurnBytes;) {
    const bool in_frame = frame_got_ < sizeof(Frame);
    const ssize_t got = in_frame ? ::recv(socket_, reinterpret_cast<char*>(&frame_) + frame_got_,
                                          sizeof(Frame) - frame_got_, MSG_DONTWAIT)
                                 : ::recv(socket_, in_, in_left_, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) fail_gone(std::strerror(errno));
    if (got == 0) fail_gone("its connection has ended");
    turn += static_cast<size_t>(got);
    if (in_frame) {
      frame_got_ += static_cast<size_t>(got);
      if (frame_got_ == sizeof(Frame)) begin_frame();
    } else {
      in_ += got;
      in_left_ -= static_cast<size_t>(got);
    }
    if (frame_got_ == sizeof(Frame) && in_left_ == 0) end_frame();
  }
}

void TcpLink::begin_frame() {
  in_left_ = frame_.bytes;
  if (frame_.kind != Kind::data) return;
  const auto receive = receives_.find({frame_.group, frame_.sequence});
  is_aside_ = receive == receives_.end();
  if (is_aside_) {
    if (frame_.bytes > (dropped_ ? kFrameBytes : kAheadBytes))
      fail_io("{} sends {} bytes that nobody wants", who_, frame_.total);
    aside_.resize(frame_.bytes);
    in_ = aside_.data();
    return;
  }
  const Receive& to = receive->second;
  if (frame_.total != to.bytes || frame_.bytes > to.bytes - to.got)
    fail_io("{} sends {} bytes where {} are expected", who_, frame_.total, to.bytes);
  in_ = to.data + to.got;
}

void TcpLink::end_frame() {
  frame_got_ = 0;
  const Key key{frame_.group, frame_.sequence};
  switch (frame_.kind) {
    case Kind::data:
      if (dropped_) return;
      if (is_aside_) {
        is_aside_ = false;
        arrived_.emplace(key, std::move(aside_));
        aside_.clear();
        return meet(key);
      }
      if (Receive& to = receives_.at(key); (to.got += frame_.bytes) == to.bytes) {
        --*to.open;
        receives_.erase(key);
      }
      return;
    case Kind::want:
      return want(key);
    case Kind::alarm:
      alarmed_ = true;
      return;
    case Kind::abort:
      abort_code_ = static_cast<int>(frame_.sequence);
      return;
    case Kind::bye:
      bye_ = true;
      return;
  }
  fail_io("{} says what no rank says", who_);
}

void TcpLink::want(Key key) {
  if (const auto ahead = ahead_.find(key); ahead != ahead_.end()) {
    ahead_bytes_ -= ahead->second;
    ahead_.erase(ahead);
    return;
  }
  const auto send =
      std::find_if(sends_.begin(), sends_.end(), [&](const Send& each) { return each.key == key; });
  if (send != sends_.end())
    send->wanted = true;
  else
    wanted_.insert(key);
}

bool TcpLink::deliver(Key key, const char* message, size_t bytes) {
  const auto receive = receives_.find(key);
  if (receive == receives_.end()) return false;
  const Receive& to = receive->second;
  if (bytes != to.bytes) fail_io("{} sends {} bytes where {} are expected", who_, bytes, to.bytes);
  if (bytes > 0) std::memcpy(to.data, message, bytes);
  --*to.open;
  receives_.erase(receive);
  return true;
}

/// A message that came ahead, and the receive that has come now.
void TcpLink::meet(Key key) {
  const auto message = arrived_.find(key);
  if (message != arrived_.end() && deliver(key, message->second.data(), message->second.size()))
    arrived_.erase(message);
}

void TcpLink::check_alive() const {
  tcp_info info = {};
  socklen_t bytes = sizeof(info);
  // Of data alone: a process that is stopped has its kernel answer for it.
  if (::getsockopt(socket_, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 &&
      info.tcpi_retransmits >= kMostRetransmits)
    fail_gone("its host does not answer");
}

void TcpLink::finish_writing() {
  ::shutdown(socket_, SHUT_WR);
}

void TcpLink::hang_up() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

}  // namespace isoflop
