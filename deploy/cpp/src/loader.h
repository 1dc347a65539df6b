// Pictures decoded ahead of the network by threads of their own, handed over in order.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "pipeline.h"

namespace ppghost {

/// One picture as the network takes it, or the reason why there is none.
struct Loaded {
  std::filesystem::path path;
  std::vector<float> row;  ///< float32 [3, H, W]; empty for a broken picture
  std::string failure;     ///< empty for a good one
};

/// Decodes a list of pictures with threads. Memory holds `ahead` pictures at most, however many there are.
class Loader {
 public:
  /// The pipeline must outlive the loader.
  Loader(const Pipeline& pipeline, std::uint64_t most_pixels, std::vector<std::filesystem::path> paths, int threads,
         std::size_t ahead);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Wait for the next picture and move it to `loaded`; return false behind the last one.
  bool next(Loaded& loaded);

 private:
  struct Slot {
    Loaded loaded;
    bool is_ready = false;
  };

  void work();
  Loaded load(const std::filesystem::path& path) const;

  const Pipeline& pipeline_;
  const std::uint64_t most_pixels_;
  const std::vector<std::filesystem::path> paths_;
  const std::size_t ahead_;

  std::mutex mutex_;
  std::condition_variable is_ready_, has_room_;
  std::vector<Slot> slots_;    // a ring: picture i is in slot i % ahead
  std::size_t claimed_ = 0;    // pictures that a thread took
  std::size_t delivered_ = 0;  // pictures that `next` gave away
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

/// Return how many pictures to hold ready: the next batch while one runs, and one for each thread.
std::size_t look_ahead(const BackendOptions& options);

}  // namespace ppghost
