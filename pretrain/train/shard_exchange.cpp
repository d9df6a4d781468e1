#include "pretrain/train/shard_exchange.hpp"

#include "core/math.hpp"

#include <algorithm>

namespace isoflop {

namespace {

/// Joins spans that touch, but for the gap that alignment leaves, which holds zeros everywhere.
void append(std::vector<ShardExchange::Span>& spans, ShardExchange::Span next, int64_t gap) {
  if (next.count == 0) return;
  if (!spans.empty()) {
    ShardExchange::Span& last = spans.back();
    const int64_t between = next.first - (last.first + last.count);
    if (between >= 0 && between < gap) {
      last.count += between + next.count;
      return;
    }
  }
  spans.push_back(next);
}

/// Of one row.
View flat(View tensor) {
  return make_view(tensor.data, tensor.dtype, 1, tensor.size());
}

/// Of our rows of tensors that are not cut.
int64_t uncut_elements(const Sharding& sharding, const ParamTable& table) {
  int64_t elements = 0;
  for (size_t i = 0; i < table.size(); ++i)
    if (table[i].placement == Placement::replicated)
      elements += sharding.rows(i).count * table[i].cols;
  return elements;
}

int64_t total(const std::vector<ShardExchange::Span>& spans) {
  int64_t sum = 0;
  for (const ShardExchange::Span& span : spans) sum += span.count;
  return sum;
}

}  // namespace

ShardExchange::ShardExchange(Communicator& ranks,
                             Communicator& wire,
                             const Sharding& sharding,
                             const ParamTable& table,
                             const ParamTable& gradient_table,
                             int64_t slots,
                             GradientTree& gradients,
                             ParamBuffer& parameters,
                             Backend& backend)
    : sharding_(sharding),
      wire_(sharding.grid().split_dp(wire)),
      everyone_(ranks.split(0, ranks.rank())),
      tied_wire_(wire.split(0, wire.rank())),
      part_wire_(sharding.grid().split_tp(wire)),
      table_(table),
      gradients_(gradients),
      parameters_(parameters),
      backend_(backend),
      parts_(tree_parts(slots, wire_->size())),
      adds_(tree_adds(slots, parts_, wire_->rank())),
      tied_(gradient_table.size() > table.size()) {
  while (parts_[first_part_].rank != wire_->rank()) ++first_part_;
  own_parts_ =
      static_cast<size_t>(std::count_if(parts_.begin(), parts_.end(), [&](const TreePart& part) {
        return part.rank == wire_->rank();
      }));
  const ProcessGrid& grid = sharding.grid();
  for (int rank = 0; rank < ranks.size(); ++rank) {  // the last stage knows the losses
    const GridPlace place = grid.place_of(rank);
    const bool knows = place.pp == grid.shape().pp - 1 && place.tp == 0;
    slots_of_rank_.push_back(knows ? slots_of(slots, place.dp, grid.shape().dp) : SlotRange{});
  }
  plan_gradients(gradient_table);
  plan_numbers(table);
  plan_parts();
}

std::vector<ShardExchange::Span> ShardExchange::spans_of(size_t bucket,
                                                         int rank,
                                                         bool gradients) const {
  const DType dtype = parameters_.flat().dtype;
  const auto gap = static_cast<int64_t>(kAlignment / size_of(dtype));
  const auto rows_of_param = [&](size_t i) {
    return rank < 0 ? RowRange{0, table_[i].rows} : sharding_.rows_of_copy(i, rank);
  };
  std::vector<Span> spans;
  const Bucket& range = sharding_.buckets()[bucket];
  for (size_t i = range.first; i < range.last; ++i) {
    if (!sharding_.in_stage(i)) continue;
    const RowRange rows = rows_of_param(i);
    append(spans, {offsets_[i].first + rows.first * table_[i].cols, rows.count * table_[i].cols},
           gap);
  }
  // The gradient of a tied head is complete before any other.
  const bool has_head = range.first == 0 && (one_stage() || has_copy_of_tied());
  if (gradients && tied_ && has_head) {
    const size_t tied = table_.size() - 1;
    const RowRange rows = rows_of_param(tied);
    append(spans,
           {offsets_[table_.size()].first + rows.first * table_[tied].cols,
            rows.count * table_[tied].cols},
           gap);
  }
  return spans;
}

void ShardExchange::plan_gradients(const ParamTable& gradient_table) {
  const DType dtype = parameters_.flat().dtype;
  const ParamBuffer& buffer = gradients_.part(0);
  for (size_t i = 0; i < gradient_table.size(); ++i) {
    if (!buffer[i]) {
      offsets_.push_back({});
      continue;
    }
    const auto bytes = static_cast<const std::byte*>(buffer[i].data) -
                       static_cast<const std::byte*>(buffer.flat().data);
    offsets_.push_back({bytes / static_cast<int64_t>(size_of(dtype)), buffer[i].size()});
  }
  const size_t buckets = sharding_.buckets().size();
  for (size_t b = 0; b < buckets; ++b) {
    whole_.push_back(spans_of(b, -1, true));
    mine_.push_back(spans_of(b, wire_->rank(), true));
    staged_first_.push_back(staged_elements_);
    staged_elements_ += total(mine_.back());
  }
  staging_ = backend_.allocate(
      static_cast<size_t>(staged_elements_) * size_of(dtype) * (parts_.size() - own_parts_),
      "the other ranks' gradients");
  if (tied_ && !one_stage() && sharding_.grid().first_stage()) {
    const size_t tied = table_.size() - 1;
    head_rows_ = backend_.allocate(rows_of(buffer[tied], sharding_.rows(tied)).bytes(),
                                   "the gradient of the tied head");
  }
  gradient_tickets_.resize(buckets);
  gathers_.resize(buckets);
  for (size_t b = 0; b < buckets; ++b) {
    std::vector<Message>& sends = sends_.emplace_back();
    for (int peer = 0; peer < wire_->size(); ++peer) {
      if (peer == wire_->rank()) continue;
      const std::vector<Span> spans = spans_of(b, peer, true);
      for (size_t part = 0; part < own_parts_; ++part)
        for (const Span& span : spans) sends.push_back(message(peer, gradients_.part(part), span));
    }
    std::vector<Message>& receives = receives_.emplace_back();
    for (size_t part = 0; part < parts_.size(); ++part) {
      if (parts_[part].rank == wire_->rank()) continue;
      int64_t staged = staged_first_[b];
      for (const Span& span : mine_[b]) {
        const View into = elements(part, span, staged);
        receives.push_back({parts_[part].rank, into.data, into.bytes()});
        staged += span.count;
      }
    }
  }
}

void ShardExchange::plan_numbers(const ParamTable& table) {
  const ProcessGrid& grid = sharding_.grid();
  int64_t chunks = 0;
  chunks_of_.resize(static_cast<size_t>(everyone_->size()));
  for (size_t i = 0; i < table.size(); ++i) {
    const int64_t before = chunks, cols = table[i].cols;
    for (int part = 0; part < grid.shape().tp; ++part) {
      int64_t part_rows = 0;
      for (int rank = 0; rank < everyone_->size(); ++rank) {
        if (grid.place_of(rank).tp != part || !sharding_.stands_for(i, rank)) continue;
        const RowRange rows = sharding_.rows(i, rank);
        const int64_t first = rows.first * cols / kNormChunk;
        const int64_t last = div_ceil((rows.first + rows.count) * cols, kNormChunk);
        part_rows += rows.count;
        if (rows.count > 0)
          chunks_of_[static_cast<size_t>(rank)].push_back({chunks + first, last - first});
      }
      chunks += div_ceil(part_rows * cols, kNormChunk);
    }
    chunk_counts_.push_back(chunks - before);
  }
  chunks_.resize(static_cast<size_t>(chunks));
  for (size_t i = 0; i < table.size(); ++i) {
    const RowRange rows = sharding_.rows(i);
    if (rows.count == 0 || !sharding_.stands_for(i, everyone_->rank())) continue;
    counted_.push_back(flat(rows_of(gradients_.part(0)[i], rows)));
    own_chunks_ += div_ceil(counted_.back().size(), kNormChunk);
  }
  for (int rank = 0; rank < everyone_->size(); ++rank) {
    const auto r = static_cast<size_t>(rank);
    arrived_.emplace_back(static_cast<size_t>(slots_of_rank_[r].size() + total(chunks_of_[r])));
  }
  numbers_.resize(arrived_[static_cast<size_t>(everyone_->rank())].size());
}

Message ShardExchange::message(int peer, const ParamBuffer& buffer, Span span) const {
  const View view = buffer.flat().columns(span.first, span.count);
  return {peer, view.data, view.bytes()};
}

/// Of the sum of a part: its buffer, where it is ours, else the memory that it arrives in.
View ShardExchange::elements(size_t part, Span span, int64_t staged) const {
  if (parts_[part].rank == wire_->rank())
    return gradients_.part(part - first_part_).flat().columns(span.first, span.count);
  const size_t others = part < first_part_ ? part : part - own_parts_;
  const DType dtype = parameters_.flat().dtype;
  const int64_t at = static_cast<int64_t>(others) * staged_elements_ + staged;
  return make_view(staging_.data() + static_cast<size_t>(at) * size_of(dtype), dtype, 1,
                   span.count);
}

void ShardExchange::start_gradients(size_t bucket) {
  gradient_tickets_[bucket] = wire_->start_exchange(sends_[bucket], receives_[bucket]);
}

void ShardExchange::finish_gradients() {
  for (size_t b = 0; b < gradient_tickets_.size(); ++b) {
    wire_->wait(gradient_tickets_[b]);
    for (const TreeAdd& add : adds_) {
      int64_t staged = staged_first_[b];
      for (const Span& span : mine_[b]) {
        backend_.add(elements(add.from, span, staged), elements(add.to, span, staged));
        staged += span.count;
      }
    }
  }
  if (tied_) join_head();
  join_parts();
}

void ShardExchange::plan_parts() {
  if (part_wire_->size() == 1) return;
  const DType dtype = parameters_.flat().dtype;
  const int64_t elements = uncut_elements(sharding_, table_);
  if (elements == 0) return;
  uncut_ = backend_.allocate(static_cast<size_t>(elements * part_wire_->size()) * size_of(dtype),
                             "the other parts' gradients");
  for (int64_t part = 0; part < part_wire_->size(); ++part)
    uncut_of_.push_back(make_view(
        uncut_.data() + static_cast<size_t>(part * elements) * size_of(dtype), dtype, 1, elements));
}

/// They are few and small: norms, biases that are added once, learned positions.
void ShardExchange::join_parts() {
  if (uncut_of_.empty()) return;
  const auto each = [&](View packed, const auto& copy) {
    int64_t at = 0;
    for (size_t i = 0; i < table_.size(); ++i) {
      const RowRange rows = sharding_.rows(i);
      if (table_[i].placement != Placement::replicated || rows.count == 0) continue;
      const View mine = rows_of(gradients_.part(0)[i], rows);
      copy(flat(mine), packed.columns(at, mine.size()));
      at += mine.size();
    }
  };
  const View mine = uncut_of_[static_cast<size_t>(part_wire_->rank())];
  each(mine, [&](View gradient, View packed) { backend_.copy(gradient, packed); });
  gather_sends_.clear();
  gather_receives_.clear();
  for (int part = 0; part < part_wire_->size(); ++part) {
    if (part == part_wire_->rank()) continue;
    const View theirs = uncut_of_[static_cast<size_t>(part)];
    gather_sends_.push_back({part, mine.data, mine.bytes()});
    gather_receives_.push_back({part, theirs.data, theirs.bytes()});
  }
  part_wire_->exchange(gather_sends_, gather_receives_);
  for (size_t part = 1; part < uncut_of_.size(); ++part)
    backend_.add(uncut_of_[part], uncut_of_[0]);
  each(uncut_of_[0], [&](View gradient, View sum) { backend_.copy(sum, gradient); });
}

void ShardExchange::join_head() {
  const size_t tied = table_.size() - 1;
  const ProcessGrid& grid = sharding_.grid();
  const GridPlace place = grid.place();
  const ParamBuffer& sum = gradients_.part(0);
  const RowRange rows = sharding_.rows_of_copy(tied, place.dp);
  if (one_stage()) return backend_.add(rows_of(sum[tied + 1], rows), rows_of(sum[tied], rows));
  if (grid.last_stage()) {
    const View mine = rows_of(sum[tied + 1], rows);
    const Message to[] = {{grid.rank_at({place.dp, place.tp, 0}), mine.data, mine.bytes()}};
    tied_wire_->exchange(to, {});
  } else if (grid.first_stage()) {
    const View mine = rows_of(sum[tied], rows);
    const View arrived = make_view(head_rows_.data(), mine.dtype, mine.rows, mine.cols);
    const int last = grid.shape().pp - 1;
    const Message from[] = {
        {grid.rank_at({place.dp, place.tp, last}), arrived.data, arrived.bytes()}};
    tied_wire_->exchange({}, from);
    backend_.add(arrived, mine);
  }
}

std::span<const double> ShardExchange::share_numbers(std::span<double> slot_losses,
                                                     std::span<const double> squares) {
  const SlotRange known = slots_of_rank_[static_cast<size_t>(everyone_->rank())];
  double* const out = std::copy(slot_losses.begin() + known.first, slot_losses.begin() + known.last,
                                numbers_.data());
  std::copy(squares.begin(), squares.end(), out);

  gather_sends_.clear();
  gather_receives_.clear();
  for (int rank = 0; rank < everyone_->size(); ++rank) {
    std::vector<double>& in = arrived_[static_cast<size_t>(rank)];
    gather_sends_.push_back({rank, numbers_.data(), numbers_.size() * sizeof(double)});
    gather_receives_.push_back({rank, in.data(), in.size() * sizeof(double)});
  }
  everyone_->exchange(gather_sends_, gather_receives_);

  for (size_t rank = 0; rank < arrived_.size(); ++rank) {
    const double* in = arrived_[rank].data();
    const SlotRange slots = slots_of_rank_[rank];
    std::copy(in, in + slots.size(), slot_losses.begin() + slots.first);
    in += slots.size();
    for (const Span& span : chunks_of_[rank]) {
      std::copy(in, in + span.count, chunks_.begin() + span.first);
      in += span.count;
    }
  }
  return chunks_;
}

void ShardExchange::start_gather(size_t bucket, const ParamBuffer& buffer) {
  gather_sends_.clear();
  gather_receives_.clear();
  const std::vector<Span> mine = spans_of(bucket, wire_->rank(), false);
  for (int peer = 0; peer < wire_->size(); ++peer) {
    if (peer == wire_->rank()) continue;
    for (const Span& span : mine) gather_sends_.push_back(message(peer, buffer, span));
    for (const Span& span : spans_of(bucket, peer, false))
      gather_receives_.push_back(message(peer, buffer, span));
  }
  gathers_[bucket] = wire_->start_exchange(gather_sends_, gather_receives_);
}

bool ShardExchange::takes_part(size_t bucket) const {
  const size_t last = sharding_.buckets()[bucket].last - 1;
  return sharding_.in_stage(last) || (last + 1 == table_.size() && has_copy_of_tied());
}

void ShardExchange::start_parameters(size_t bucket) {
  const size_t last = sharding_.buckets()[bucket].last - 1;
  if (sharding_.in_stage(last)) start_gather(bucket, parameters_);
  if (tied_ && !one_stage() && last + 1 == table_.size()) start_tied();
}

void ShardExchange::finish_parameters(size_t bucket) {
  finish_gather(bucket);
  if (sharding_.buckets()[bucket].last == table_.size()) tied_wire_->wait(tied_ticket_);
}

/// The rows of a tied matrix, from their owners to everyone in the last stage.
void ShardExchange::start_tied() {
  const size_t tied = table_.size() - 1;
  const ProcessGrid& grid = sharding_.grid();
  const int last = grid.shape().pp - 1, tp = grid.place().tp;
  gather_sends_.clear();
  gather_receives_.clear();
  for (int dp = 0; dp < grid.shape().dp; ++dp) {
    if (grid.first_stage()) {
      const View mine = rows_of(parameters_[tied], sharding_.rows(tied));
      gather_sends_.push_back({grid.rank_at({dp, tp, last}), mine.data, mine.bytes()});
    } else if (grid.last_stage()) {
      const View theirs = rows_of(parameters_[tied], sharding_.rows_of_copy(tied, dp));
      gather_receives_.push_back({grid.rank_at({dp, tp, 0}), theirs.data, theirs.bytes()});
    }
  }
  tied_ticket_ = tied_wire_->start_exchange(gather_sends_, gather_receives_);
}

WireTotals ShardExchange::wire_totals() const {
  return wire_->wire_totals() + everyone_->wire_totals() + tied_wire_->wire_totals() +
         part_wire_->wire_totals();
}

void ShardExchange::gather_gradients() {
  for (size_t b = 0; b < gathers_.size(); ++b) {
    if (!sharding_.in_stage(sharding_.buckets()[b].first)) continue;
    start_gather(b, gradients_.part(0));
    finish_gather(b);
  }
}

size_t ShardExchange::bytes_for(const Sharding& sharding,
                                const ParamTable& table,
                                const ParamTable& gradient_table,
                                int64_t slots,
                                DType dtype) {
  const ProcessGrid& grid = sharding.grid();
  const std::vector<TreePart> parts = tree_parts(slots, grid.shape().dp);
  const auto own = std::count_if(parts.begin(), parts.end(), [&](const TreePart& part) {
    return part.rank == grid.place().dp;
  });
  const auto others = parts.size() - static_cast<size_t>(own);
  size_t elements = 0;
  for (size_t i = 0; i < table.size(); ++i)
    elements += static_cast<size_t>(sharding.rows(i).count * table[i].cols) * others;
  if (gradient_table.size() > table.size()) {
    const size_t tied = table.size() - 1;
    const auto rows = sharding.rows_of_copy(tied, grid.place().dp).count * table[tied].cols;
    if (grid.last_stage()) elements += static_cast<size_t>(rows) * others;
    if (grid.first_stage() && grid.shape().pp > 1) elements += static_cast<size_t>(rows);
  }
  const int tp = grid.shape().tp;
  if (tp > 1) elements += static_cast<size_t>(tp * uncut_elements(sharding, table));
  return elements * size_of(dtype);
}

}  // namespace isoflop
