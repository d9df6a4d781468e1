#include "datasets/duplicates.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "core/math.hpp"
#include "datasets/min_hash.hpp"
#include "datasets/text_tiles.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace isoflop {

namespace {

struct Content {
  Hash128 hash;
  uint64_t document = 0;
};

// What is known of a tile's parts.
struct Sketch {
  std::vector<Hash128> hashes;
  std::vector<MinHash> sets;  // near only
};

// Everything about the documents that finding duplicates needs; filled in one pass.
class Documents {
 public:
  explicit Documents(bool near) : near_(near) {}

  void sketch(const TextTile& tile, Sketch& sketch) const {
    sketch.hashes.clear();
    sketch.sets.assign(near_ ? tile.parts.size() : 0, MinHash());
    for (size_t i = 0; i < tile.parts.size(); ++i) {
      sketch.hashes.push_back(hash128(tile.part_text(i)));
      if (near_) sketch.sets[i].add(tile.part_text(i));
    }
  }
  void take(const TextTile& tile, const Sketch& sketch) {
    for (size_t i = 0; i < tile.parts.size(); ++i) {
      const TextTile::Part& part = tile.parts[i];
      if (part.first) {
        places.push_back({part.offset, narrow<uint32_t>(part.file)});
        contents.push_back({sketch.hashes[i], part.document});
        if (near_) sets.push_back(sketch.sets[i]);
        continue;
      }
      // Pieces are cut by content alone, so equal documents have equal pieces.
      const Hash128 both[] = {contents.back().hash, sketch.hashes[i]};
      contents.back().hash = hash128({reinterpret_cast<const char*>(both), sizeof(both)});
      if (near_) sets.back().merge(sketch.sets[i]);
    }
  }

  std::vector<Content> contents;
  std::vector<MinHash> sets;
  std::vector<Duplicates::Place> places;

 private:
  bool near_;
};

void drop(Duplicates& result, const Duplicate& duplicate) {
  result.drop[duplicate.document] = true;
  result.list.push_back(duplicate);
}

void find_exact(std::vector<Content>& contents, Duplicates& result) {
  std::sort(contents.begin(), contents.end(), [](const Content& a, const Content& b) {
    return std::tie(a.hash.high, a.hash.low, a.document) <
           std::tie(b.hash.high, b.hash.low, b.document);
  });
  for (size_t i = 1, first = 0; i < contents.size(); ++i) {
    if (contents[i].hash != contents[first].hash)
      first = i;
    else
      drop(result, {contents[i].document, contents[first].document, 1});
  }
}

// Pairs (later, earlier) that share a band, without those that are gone already.
std::vector<std::pair<uint64_t, uint64_t>> candidates(const std::vector<MinHash>& sets,
                                                      const std::vector<bool>& gone) {
  constexpr size_t kLookBack = 8;  // and at the first of all that share the band
  std::vector<std::pair<uint64_t, uint64_t>> keys, pairs;
  for (int band = 0; band < MinHash::kBands; ++band) {
    keys.clear();
    for (uint64_t document = 0; document < sets.size(); ++document)
      if (!gone[document]) keys.emplace_back(sets[document].band(band), document);
    std::sort(keys.begin(), keys.end());
    for (size_t i = 1, first = 0; i < keys.size(); ++i) {
      if (keys[i].first != keys[first].first) {
        first = i;
        continue;
      }
      pairs.emplace_back(keys[i].second, keys[first].second);
      for (size_t back = 1; back <= kLookBack && i - back > first; ++back)
        pairs.emplace_back(keys[i].second, keys[i - back].second);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

void find_near(const std::vector<MinHash>& sets, double threshold, Duplicates& result) {
  for (const auto& [later, earlier] : candidates(sets, result.drop)) {
    if (result.drop[later] || result.drop[earlier]) continue;
    const double similarity = sets[later].similarity(sets[earlier]);
    if (similarity >= threshold) drop(result, {later, earlier, similarity});
  }
}

// An exact duplicate may repeat a document that went for being near to a third: name that one.
void follow_partners(std::vector<Duplicate>& list) {
  for (Duplicate& duplicate : list) {
    const auto before = std::lower_bound(
        list.begin(), list.end(), duplicate.of,
        [](const Duplicate& other, uint64_t document) { return other.document < document; });
    if (before == list.end() || before->document != duplicate.of) continue;
    duplicate.of = before->of;  // earlier in the list, so followed already
    duplicate.similarity = std::min(duplicate.similarity, before->similarity);
  }
}

}  // namespace

Dedup parse_dedup(std::string_view name) {
  if (name == "off") return Dedup::off;
  if (name == "exact") return Dedup::exact;
  if (name == "near") return Dedup::near;
  fail_user("dedup is \"{}\"; it is one of off, exact, near", name);
}

Duplicates find_duplicates(const Corpus& corpus,
                           const std::vector<uint64_t>& cuts,
                           const DedupOptions& options) {
  const bool near = options.kind == Dedup::near;
  if (!(options.threshold >= 0.5 && options.threshold <= 1))
    fail_user("the similarity threshold is {}; it must lie between 0.5 and 1", options.threshold);
  Documents documents(near);
  TextReader reader(corpus, cuts);
  ThreadTeam team(options.threads);
  for_each_tile<Sketch>(
      reader, team, options.stop,
      [&](const TextTile& tile, Sketch& sketch) { documents.sketch(tile, sketch); },
      [&](const TextTile& tile, const Sketch& sketch) { documents.take(tile, sketch); },
      [&] {
        if (options.progress) options.progress(reader.bytes_read(), documents.contents.size());
      });
  Duplicates result;
  result.drop.assign(documents.contents.size(), false);
  find_exact(documents.contents, result);
  if (near) find_near(documents.sets, options.threshold, result);
  std::sort(result.list.begin(), result.list.end(),
            [](const Duplicate& a, const Duplicate& b) { return a.document < b.document; });
  follow_partners(result.list);
  result.places = std::move(documents.places);
  return result;
}

void write_duplicates(const Duplicates& duplicates,
                      const Corpus& corpus,
                      const std::filesystem::path& file) {
  std::string text;
  for (const Duplicate& duplicate : duplicates.list) {
    const auto &place = duplicates.places[duplicate.document],
               &of = duplicates.places[duplicate.of];
    const nlohmann::ordered_json line = {{"document", duplicate.document},
                                         {"file", corpus.files()[place.file].name},
                                         {"offset", place.offset},
                                         {"of_document", duplicate.of},
                                         {"of_file", corpus.files()[of.file].name},
                                         {"of_offset", of.offset},
                                         {"similarity", duplicate.similarity}};
    text += line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  write_file_atomically(file, text);
}

}  // namespace isoflop
