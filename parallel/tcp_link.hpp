// TcpLink: the messages of all groups between this rank and another one, over one connection whose
// socket never blocks. Frames carry group, sequence and length; large messages go in several, so
// that small ones pass them.
//
// Who receives tells the sender when a receive is posted ("want"), and only then data comes: it is
// read to where it belongs, whatever the order of groups at both ends. Short messages go ahead of
// that, up to kAheadBytes that are not wanted yet, which is all that a link ever stores.
//
// Numbers travel as they lie in memory: ranks are the same program on the same kind of machine.
// One thread uses it (tcp_mesh.hpp).
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

class TcpLink {
 public:
  using Key = std::pair<uint64_t, uint64_t>;  // group, sequence: the same at both ends
  enum class Kind : uint32_t { data, want, alarm, abort, bye };
  static constexpr size_t kFrameBytes = size_t{256} << 10;
  static constexpr size_t kAheadBytes = size_t{64} << 10;

  /// Takes the socket over; -1: the link of a rank with itself. `who` is for messages.
  TcpLink(int socket, std::string who);
  ~TcpLink() { hang_up(); }
  TcpLink(const TcpLink&) = delete;
  TcpLink& operator=(const TcpLink&) = delete;

  /// The memory is borrowed until `open`, which each of these raises, is lowered again. IoError
  /// when the other side has gone.
  void send(Key key, const void* data, size_t bytes, int* open);
  void receive(Key key, void* data, size_t bytes, int* open);
  /// Alarm, abort, bye.
  void say(Kind kind, uint64_t value = 0);
  /// Lets go of all memory: nothing more of what is under way ends.
  void drop();

  int socket() const { return socket_; }
  const std::string& who() const { return who_; }
  /// Something could be written, were there room.
  bool has_output();
  /// A turn each: what the socket takes and gives. IoError when the other side has gone, which is
  /// in order once it has said bye and nothing is under way.
  void write();
  void read();
  /// IoError when what was written is not acknowledged, again and again.
  void check_alive() const;
  void finish_writing();  // the other side reads an end
  void hang_up();
  bool in_order() const { return bye_ && sends_.empty() && receives_.empty(); }

  bool alarmed() const { return alarmed_; }
  const std::optional<int>& abort_code() const { return abort_code_; }

 private:
  struct Frame {
    Kind kind;
    uint32_t bytes;  // that follow
    uint64_t group, sequence, total;
  };
  struct Send {
    Key key;
    const char* data;
    size_t bytes, sent;
    bool wanted;
    int* open;
  };
  struct Receive {
    char* data;
    size_t bytes, got;
    int* open;
  };

  bool may_go(const Send& send) const;
  void begin_next();
  void end_written();
  void begin_frame();
  void end_frame();
  void want(Key key);
  bool deliver(Key key, const char* message, size_t bytes);
  void meet(Key key);
  [[noreturn]] void fail_gone(const char* how) const;

  int socket_;
  const std::string who_;
  const bool self_;
  std::list<Send> sends_;
  std::map<Key, Receive> receives_;
  std::set<Key> wanted_;                // before we had it
  std::map<Key, size_t> ahead_;         // sent before it was wanted
  size_t ahead_bytes_ = 0;              // of these
  std::map<Key, std::string> arrived_;  // before we wanted it
  bool alarmed_ = false, bye_ = false, dropped_ = false;
  std::optional<int> abort_code_;

  std::string control_;  // frames without data, which go first
  // Being written: frames, then data.
  std::string head_;
  size_t head_at_ = 0, body_left_ = 0;
  const char* body_ = nullptr;
  std::list<Send>::iterator sending_;
  // Being read: a frame, then its data.
  Frame frame_{};
  size_t frame_got_ = 0, in_left_ = 0;
  char* in_ = nullptr;
  std::string aside_;  // where it goes when nobody wants it yet
  bool is_aside_ = false;
};

}  // namespace isoflop
