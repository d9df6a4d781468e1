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

int64_t total(const std::vector<ShardExchange::Span>& spans) {
  int64_t sum = 0;
  for (const ShardExchange::Span& span : spans) sum += span.count;
  return sum;
}

}  // namespace

ShardExchange::ShardExchange(Communicator& ranks,
                             const Sharding& sharding,
                             const ParamTable& table,
                             const ParamTable& gradient_table,
                             int64_t slots,
                             GradientTree& gradients,
                             ParamBuffer& parameters,
                             Backend& backend)
    : wire_(ranks.split(0, ranks.rank())),
      sharding_(sharding),
      table_(table),
      gradients_(gradients),
      parameters_(parameters),
      backend_(backend),
      parts_(tree_parts(slots, ranks.size())),
      adds_(tree_adds(slots, parts_, ranks.rank())),
      tied_(gradient_table.size() > table.size()),
      slots_(slots_of(slots, ranks.rank(), ranks.size())) {
  while (parts_[first_part_].rank != wire_->rank()) ++first_part_;
  own_parts_ =
      static_cast<size_t>(std::count_if(parts_.begin(), parts_.end(), [&](const TreePart& part) {
        return part.rank == wire_->rank();
      }));
  for (int rank = 0; rank < ranks.size(); ++rank)
    slots_of_rank_.push_back(slots_of(slots, rank, ranks.size()));
  plan_gradients(gradient_table);
  plan_numbers(table);
}

std::vector<ShardExchange::Span> ShardExchange::spans_of(size_t bucket,
                                                         int rank,
                                                         bool gradients) const {
  const DType dtype = parameters_.flat().dtype;
  const auto gap = static_cast<int64_t>(kAlignment / size_of(dtype));
  const auto rows_of_param = [&](size_t i) {
    return rank < 0 ? RowRange{0, table_[i].rows} : sharding_.rows(i, rank);
  };
  std::vector<Span> spans;
  const Bucket& range = sharding_.buckets()[bucket];
  for (size_t i = range.first; i < range.last; ++i) {
    const RowRange rows = rows_of_param(i);
    append(spans, {offsets_[i].first + rows.first * table_[i].cols, rows.count * table_[i].cols},
           gap);
  }
  if (gradients && tied_ && range.last == table_.size()) {
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
  staging_ = allocate_host(
      static_cast<size_t>(staged_elements_) * size_of(dtype) * (parts_.size() - own_parts_),
      "the other ranks' gradients");
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
  int64_t chunks = 0;
  chunks_of_.resize(static_cast<size_t>(wire_->size()));
  for (size_t i = 0; i < table.size(); ++i) {
    for (int rank = 0; rank < wire_->size(); ++rank) {
      const RowRange rows = sharding_.rows(i, rank);
      const int64_t first = rows.first * table[i].cols / kNormChunk;
      const int64_t last = div_ceil((rows.first + rows.count) * table[i].cols, kNormChunk);
      if (rows.count > 0)
        chunks_of_[static_cast<size_t>(rank)].push_back({chunks + first, last - first});
    }
    chunks += div_ceil(table[i].size(), kNormChunk);
  }
  chunks_.resize(static_cast<size_t>(chunks));
  for (int rank = 0; rank < wire_->size(); ++rank) {
    const auto r = static_cast<size_t>(rank);
    arrived_.emplace_back(static_cast<size_t>(slots_of_rank_[r].size() + total(chunks_of_[r])));
  }
  numbers_.resize(arrived_[static_cast<size_t>(wire_->rank())].size());
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
}

std::span<const double> ShardExchange::share_numbers(std::span<double> slot_losses) {
  double* out = std::copy(slot_losses.begin() + slots_.first, slot_losses.begin() + slots_.last,
                          numbers_.data());
  ParamBuffer& sum = gradients_.part(0);
  for (size_t i = 0; i < table_.size(); ++i) {
    const RowRange rows = sharding_.rows(i);
    const View view = rows_of(sum[i], rows);
    for (int64_t first = 0; first < view.size(); first += kNormChunk)
      *out++ = backend_.sum_squares(
          sum.flat().columns(offsets_[i].first + rows.first * table_[i].cols + first,
                             std::min(kNormChunk, view.size() - first)));
  }

  gather_sends_.clear();
  gather_receives_.clear();
  for (int rank = 0; rank < wire_->size(); ++rank) {
    std::vector<double>& in = arrived_[static_cast<size_t>(rank)];
    gather_sends_.push_back({rank, numbers_.data(), numbers_.size() * sizeof(double)});
    gather_receives_.push_back({rank, in.data(), in.size() * sizeof(double)});
  }
  wire_->exchange(gather_sends_, gather_receives_);

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

void ShardExchange::gather_gradients() {
  for (size_t b = 0; b < gathers_.size(); ++b) {
    start_gather(b, gradients_.part(0));
    finish_gather(b);
  }
}

size_t ShardExchange::bytes_for(const Sharding& sharding,
                                const ParamTable& gradient_table,
                                int64_t slots,
                                DType dtype) {
  const std::vector<TreePart> parts = tree_parts(slots, sharding.ranks());
  const auto own = std::count_if(parts.begin(), parts.end(), [&](const TreePart& part) {
    return part.rank == sharding.rank();
  });
  size_t elements = 0;
  for (size_t i = 0; i < gradient_table.size(); ++i) {
    const RowRange rows = sharding.rows(std::min(i, sharding.parameters() - 1));
    elements += static_cast<size_t>(rows.count * gradient_table[i].cols);
  }
  return elements * size_of(dtype) * (parts.size() - static_cast<size_t>(own));
}

}  // namespace isoflop
