// SPDX-License-Identifier: Apache-2.0
#include "common/routing/shared_ring.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ballast {
namespace {

HashRing Numbered(int number) {
  // Every ring has one server, named and sized alike: a reader can tell a torn one.
  return *HashRing::Make({{std::to_string(number), static_cast<uint32_t>(number % 50 + 1)}});
}

TEST(SharedRingTest, ReadersSeeOneRingWholeAndNeverAnOlderOneAgain) {
  SharedRing shared(Numbered(0));
  std::atomic<int> published{0};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> looks{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      int newest = 0;
      while (!stop) {
        const int floor = published;
        const SharedRing::Reader ring(shared);
        const HashRing::Server& server = ring->servers()[ring->Find(looks * 0x9E3779B97F4A7C15)];
        const int number = std::stoi(server.id);
        EXPECT_EQ(server.points, static_cast<uint32_t>(number % 50 + 1));
        EXPECT_EQ(ring->point_count(), server.points);
        EXPECT_GE(number, floor);  // what was published before this look
        EXPECT_GE(number, newest);
        newest = number;
        ++looks;
      }
    });
  }
  for (int number = 1; number <= 500; ++number) {
    shared.Replace(Numbered(number));
    published = number;
  }
  while (looks < 1000) {
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(SharedRing::Reader(shared)->servers()[0].id, "500");
}

TEST(SharedRingTest, SeveralWritersTakeTurns) {
  SharedRing shared;
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&shared, i] {
      for (int step = 0; step < 200; ++step) shared.Replace(Numbered(i * 200 + step));
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(SharedRing::Reader(shared)->servers().size(), 1u);
}

}  // namespace
}  // namespace ballast
