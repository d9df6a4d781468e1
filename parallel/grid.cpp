#include "parallel/grid.hpp"

#include "core/error.hpp"

namespace isoflop {

GridShape fit_grid(int ranks, int tp, int pp) {
  ISOFLOP_CHECK(ranks > 0 && tp > 0 && pp > 0, "a grid of {} ranks, tp {}, pp {}", ranks, tp, pp);
  const int each = tp * pp;
  if (ranks % each != 0)
    fail_user(
        "{} ranks do not fit a grid of {} (tp {} x pp {}): start a multiple of {}, or change "
        "parallel.tp or parallel.pp",
        ranks, each, tp, pp, each);
  return {.dp = ranks / each, .tp = tp, .pp = pp};
}

ProcessGrid::ProcessGrid(GridShape shape, int rank) : shape_(shape), rank_(rank) {
  ISOFLOP_CHECK(rank >= 0 && rank < shape.ranks(), "there is no rank {} among {}", rank,
                shape.ranks());
}

GridPlace ProcessGrid::place_of(int rank) const {
  return {.dp = rank / shape_.tp % shape_.dp,
          .tp = rank % shape_.tp,
          .pp = rank / (shape_.tp * shape_.dp)};
}

int ProcessGrid::rank_at(GridPlace place) const {
  return (place.pp * shape_.dp + place.dp) * shape_.tp + place.tp;
}

std::unique_ptr<Communicator> ProcessGrid::split_dp(Communicator& ranks) const {
  const GridPlace at = place();
  return ranks.split(at.pp * shape_.tp + at.tp, at.dp);
}

std::unique_ptr<Communicator> ProcessGrid::split_tp(Communicator& ranks) const {
  const GridPlace at = place();
  return ranks.split(at.pp * shape_.dp + at.dp, at.tp);
}

std::unique_ptr<Communicator> ProcessGrid::split_pp(Communicator& ranks) const {
  const GridPlace at = place();
  return ranks.split(at.dp * shape_.tp + at.tp, at.pp);
}

}  // namespace isoflop
