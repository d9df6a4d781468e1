// ShardExchange: what ranks that share a step tell each other. Gradients: every rank sends each
// owner its part of each subtree sum, and the owner adds them in the order of the slot tree, so
// that the bits do not depend on the number of ranks. Numbers: losses of slots, squares of chunks.
// Parameters: owners send what they updated to everyone.
//
// With a pipeline, gradients and parameters go among the ranks of one stage; numbers among all. The
// head's gradient of a tied matrix is summed on the last stage and then joins the first stage's,
// row for row, and the updated matrix goes back to every rank of the last.
//
// With tensor parallelism all of that goes among the ranks that have the same part. Gradients of
// tensors that are not cut are sums over the parts' slices of the tokens: their owners add them
// once the slots are added, in the order of the parts.
//
// All of it goes bucket by bucket, and start_* return at once: gradients leave while the backward
// pass still computes earlier blocks, parameters arrive while the next step's forward pass has
// begun. Everything is planned in the constructor, which also takes the memory for what arrives:
// about one gradient.
#pragma once
#include "parallel/communicator.hpp"
#include "parallel/sharding.hpp"
#include "pretrain/train/gradient_tree.hpp"

#include <memory>
#include <span>
#include <vector>

namespace isoflop {

class ShardExchange {
 public:
  /// Elements [first, first + count) of a flat buffer.
  struct Span {
    int64_t first = 0, count = 0;
  };

  /// Collective. Borrows all of them. `wire`: the same ranks, for messages in the backend's memory;
  /// `ranks` themselves where that is the host's. `table` is our part's; `gradient_table` is the
  /// same, or one row longer (the head's gradient of a tied matrix, which is the table's last).
  ShardExchange(Communicator& ranks,
                Communicator& wire,
                const Sharding& sharding,
                const ParamTable& table,
                const ParamTable& gradient_table,
                int64_t slots,
                GradientTree& gradients,
                ParamBuffer& parameters,
                Backend& backend);

  /// The elements of a bucket in the gradients' flat buffer, whoever owns them.
  const std::vector<Span>& all_of(size_t bucket) const { return whole_[bucket]; }

  /// Our subtree sums of this bucket are complete. Buckets are started in one order on all ranks.
  void start_gradients(size_t bucket);
  /// Waits for all buckets and adds; a tied head's gradient joins the table's. Our rows of the sum
  /// are in gradients.part(0) then; the rest of it is not the sum.
  void finish_gradients();

  /// Our rows of the sum, as far as we stand for them: what their squares are taken of, and the
  /// number of their chunks (kNormChunk).
  std::span<const View> counted() const { return counted_; }
  int64_t own_chunks() const { return own_chunks_; }
  /// Fills in the other ranks' slots, and returns the sums of squares of every chunk of every
  /// parameter, in table order; valid until the next call. `squares`: of our own chunks.
  std::span<const double> share_numbers(std::span<double> slot_losses,
                                        std::span<const double> squares);
  /// How many chunks each parameter has, over all its parts.
  std::span<const int64_t> chunks() const { return chunk_counts_; }

  /// Our rows of a bucket of the parameters are updated: sends them and receives the others'.
  void start_parameters(size_t bucket);
  void finish_parameters(size_t bucket);
  /// Whether parameters of the bucket come to us at all.
  bool takes_part(size_t bucket) const;
  /// The last stage's copy of a tied matrix is not its own.
  bool has_copy_of_tied() const { return tied_ && !one_stage() && sharding_.grid().last_stage(); }

  /// Everybody's rows of the summed gradients, for statistics.
  void gather_gradients();

  WireTotals wire_totals() const;
  /// Of what arrives, beside the gradients themselves.
  static size_t bytes_for(const Sharding& sharding,
                          const ParamTable& table,
                          const ParamTable& gradient_table,
                          int64_t slots,
                          DType dtype);

 private:
  std::vector<Span> spans_of(size_t bucket, int rank, bool gradients) const;
  void plan_gradients(const ParamTable& gradient_table);
  void plan_numbers(const ParamTable& table);
  Message message(int peer, const ParamBuffer& buffer, Span span) const;
  void start_gather(size_t bucket, const ParamBuffer& buffer);
  void finish_gather(size_t bucket) { wire_->wait(gathers_[bucket]); }
  View elements(size_t part, Span span, int64_t staged) const;
  bool one_stage() const { return sharding_.grid().shape().pp == 1; }
  void join_head();
  void plan_parts();
  void join_parts();
  void start_tied();

  const Sharding& sharding_;
  // Groups of our own: nobody else's order matters.
  std::unique_ptr<Communicator> wire_;       // our stage's ranks
  std::unique_ptr<Communicator> everyone_;   // for numbers, in host memory
  std::unique_ptr<Communicator> tied_wire_;  // all ranks, for what the stages of a tied matrix say
  std::unique_ptr<Communicator> part_wire_;  // those that share each matrix with us
  const ParamTable& table_;
  GradientTree& gradients_;
  ParamBuffer& parameters_;
  Backend& backend_;
  std::vector<TreePart> parts_;
  std::vector<TreeAdd> adds_;
  size_t first_part_ = 0, own_parts_ = 0;  // ours among the parts
  bool tied_ = false;
  std::vector<Span> offsets_;  // of every row of the gradient table in the flat buffer

  std::vector<std::vector<Span>> whole_, mine_;         // per bucket
  std::vector<int64_t> staged_first_;                   // per bucket, within a part's staging
  std::vector<std::vector<Message>> sends_, receives_;  // per bucket
  std::vector<Communicator::Ticket> gradient_tickets_, gathers_;
  Communicator::Ticket tied_ticket_ = 0;
  Buffer head_rows_;  // the first stage's: our rows of the head's gradient, from the last
  std::vector<Message> gather_sends_, gather_receives_;  // scratch
  Buffer uncut_;  // our rows of the gradients of tensors that are not cut, of each part
  std::vector<View> uncut_of_;  // per part, in one row
  Buffer staging_;
  int64_t staged_elements_ = 0;  // of one part

  std::vector<View> counted_;
  int64_t own_chunks_ = 0;
  std::vector<double> numbers_;               // ours: losses, then chunks
  std::vector<std::vector<double>> arrived_;  // of every rank
  std::vector<double> chunks_;
  std::vector<int64_t> chunk_counts_;
  std::vector<std::vector<Span>> chunks_of_;  // per rank: where its chunks lie among all
  std::vector<SlotRange> slots_of_rank_;
};

}  // namespace isoflop
