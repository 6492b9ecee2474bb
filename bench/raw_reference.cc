// SPDX-License-Identifier: Apache-2.0
#include "bench/raw_reference.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace ballast::bench {
namespace {

constexpr int kServersMax = 5;

enum Operation : uint32_t { kGet, kPut, kPull };

struct Request {
  uint64_t chunk = 0;
  uint64_t bytes = 0;
  Operation operation = kGet;
  uint32_t forwards = 0;  // ports[0..forwards) are the rest of the chain; of a pull: the source
  uint16_t ports[kServersMax] = {};
};

// Each part is preceded by its length and checksum.
struct PartHeader {
  uint32_t bytes = 0;
  uint32_t crc = 0;
};

void SendAll(int fd, const void* data, size_t bytes, int flags) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = send(fd, at, bytes, flags | MSG_NOSIGNAL);
    CHECK(n > 0) << std::strerror(errno);
    at += n;
    bytes -= static_cast<size_t>(n);
  }
}

// False at the end of the connection, if nothing had come.
bool ReceiveAll(int fd, void* data, size_t bytes) {
  char* at = static_cast<char*>(data);
  size_t left = bytes;
  while (left > 0) {
    const ssize_t n = recv(fd, at, left, 0);
    if (n == 0 && left == bytes) {
      return false;
    }
    CHECK(n > 0) << std::strerror(errno);
    at += n;
    left -= static_cast<size_t>(n);
  }
  return true;
}

int Connect(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

std::string PathOf(const std::string& folder, uint64_t chunk) {
  return absl::StrCat(folder, "/", chunk);
}

void CheckCrc(const PartHeader& part, const char* data) {
  CHECK_EQ(ComputeCrc32c(absl::string_view(data, part.bytes)).value, part.crc);
}

// The bytes of every 64 KiB are checksummed on their own by the real thing; one sum over the part
// costs the same.
class Connection {
 public:
  Connection(int fd, std::string folder, uint64_t part_bytes)
      : fd_(fd), folder_(std::move(folder)), buffer_(part_bytes) {}

  void Run() {
    Request request;
    while (ReceiveAll(fd_, &request, sizeof(request))) {
      switch (request.operation) {
        case kGet:
          Get(request);
          break;
        case kPut:
          Put(request);
          break;
        case kPull:
          Pull(request);
          break;
      }
    }
    close(fd_);
    if (next_ >= 0) {
      close(next_);
    }
  }

 private:
  // Receives the chunk's parts, checks and writes them, forwards them to `next` (-1: to nobody),
  // and makes the file durable.
  void Store(const Request& request, int from, int next) {
    const std::string path = PathOf(folder_, request.chunk);
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(file >= 0) << path;
    CHECK_EQ(posix_fallocate(file, 0, static_cast<off_t>(request.bytes)), 0);  // as ours
    for (uint64_t done = 0; done < request.bytes;) {
      PartHeader part;
      CHECK(ReceiveAll(from, &part, sizeof(part)));
      CHECK_LE(part.bytes, buffer_.size());
      CHECK(ReceiveAll(from, buffer_.data(), part.bytes));
      CheckCrc(part, buffer_.data());
      if (next >= 0) {
        SendAll(next, &part, sizeof(part), MSG_MORE);
        SendAll(next, buffer_.data(), part.bytes, 0);
      }
      CHECK_EQ(pwrite(file, buffer_.data(), part.bytes, static_cast<off_t>(done)),
               static_cast<ssize_t>(part.bytes));
      done += part.bytes;
      if (done / kWritebackBytes != (done - part.bytes) / kWritebackBytes) {
        sync_file_range(file, static_cast<off_t>(done - kWritebackBytes), kWritebackBytes,
                        SYNC_FILE_RANGE_WRITE);
      }
    }
    CHECK_EQ(fdatasync(file), 0);
    close(file);
    const int folder = open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(fsync(folder), 0);
    close(folder);
  }

  int Next(uint16_t port) {
    if (next_ < 0 || next_port_ != port) {
      if (next_ >= 0) {
        close(next_);
      }
      next_port_ = port;
      next_ = Connect(port);
    }
    return next_;
  }

  void Put(const Request& request) {
    int next_fd = -1;
    if (request.forwards > 0) {
      next_fd = Next(request.ports[0]);
      Request next = request;
      --next.forwards;
      std::copy(request.ports + 1, request.ports + kServersMax, next.ports);
      SendAll(next_fd, &next, sizeof(next), MSG_MORE);
    }
    Store(request, fd_, next_fd);
    char answer = 0;
    if (next_fd >= 0) {
      CHECK(ReceiveAll(next_fd, &answer, 1));
    }
    SendAll(fd_, &answer, 1, 0);
  }

  void Pull(const Request& request) {
    const int source = Next(request.ports[0]);
    Request get = request;
    get.operation = kGet;
    SendAll(source, &get, sizeof(get), 0);
    Store(request, source, -1);
    const char answer = 0;
    SendAll(fd_, &answer, 1, 0);
  }

  void Get(const Request& request) {
    const int file = open(PathOf(folder_, request.chunk).c_str(), O_RDONLY | O_CLOEXEC);
    CHECK(file >= 0);
    for (uint64_t done = 0; done < request.bytes;) {
      PartHeader part;
      part.bytes = static_cast<uint32_t>(std::min<uint64_t>(buffer_.size(), request.bytes - done));
      CHECK_EQ(pread(file, buffer_.data(), part.bytes, static_cast<off_t>(done)),
               static_cast<ssize_t>(part.bytes));
      part.crc = ComputeCrc32c(absl::string_view(buffer_.data(), part.bytes)).value;
      SendAll(fd_, &part, sizeof(part), MSG_MORE);
      SendAll(fd_, buffer_.data(), part.bytes, 0);
      done += part.bytes;
    }
    close(file);
  }

  static constexpr uint64_t kWritebackBytes = 4 << 20;  // as the chunk store does

  const int fd_;
  const std::string folder_;
  std::vector<char> buffer_;
  int next_ = -1;
  uint16_t next_port_ = 0;
};

}  // namespace

void RunReferenceServer(const std::string& folder, uint64_t part_bytes) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  CHECK_EQ(listen(listener, 64), 0);
  socklen_t length = sizeof(address);
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  while (true) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    CHECK(fd >= 0) << std::strerror(errno);
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    std::thread([fd, folder, part_bytes] { Connection(fd, folder, part_bytes).Run(); }).detach();
  }
}

ReferenceClient::ReferenceClient(std::vector<uint16_t> ports, uint64_t part_bytes)
    : ports_(std::move(ports)), connections_(ports_.size(), -1), buffer_(part_bytes) {}

ReferenceClient::~ReferenceClient() {
  for (const int fd : connections_) {
    if (fd >= 0) {
      close(fd);
    }
  }
}

int ReferenceClient::Connection(size_t server) {
  if (connections_[server] < 0) {
    connections_[server] = Connect(ports_[server]);
  }
  return connections_[server];
}

void ReferenceClient::Put(int source_fd, uint64_t source_offset, uint64_t chunk, uint64_t bytes,
                          int replicas) {
  const size_t first = chunk % ports_.size();
  const int fd = Connection(first);
  Request request;
  request.chunk = chunk;
  request.bytes = bytes;
  request.operation = kPut;
  request.forwards = static_cast<uint32_t>(replicas - 1);
  for (int i = 1; i < replicas; ++i) {
    request.ports[i - 1] = ports_[(first + static_cast<size_t>(i)) % ports_.size()];
  }
  SendAll(fd, &request, sizeof(request), MSG_MORE);
  for (uint64_t done = 0; done < bytes;) {
    PartHeader part;
    part.bytes = static_cast<uint32_t>(std::min<uint64_t>(buffer_.size(), bytes - done));
    CHECK_EQ(pread(source_fd, buffer_.data(), part.bytes, static_cast<off_t>(source_offset + done)),
             static_cast<ssize_t>(part.bytes));
    part.crc = ComputeCrc32c(absl::string_view(buffer_.data(), part.bytes)).value;
    SendAll(fd, &part, sizeof(part), MSG_MORE);
    SendAll(fd, buffer_.data(), part.bytes, 0);
    done += part.bytes;
  }
  char answer = 0;
  CHECK(ReceiveAll(fd, &answer, 1));
}

void ReferenceClient::Pull(uint64_t chunk, uint64_t bytes, size_t source, size_t target) {
  const int fd = Connection(target);
  Request request;
  request.chunk = chunk;
  request.bytes = bytes;
  request.operation = kPull;
  request.forwards = 1;
  request.ports[0] = ports_[source];
  SendAll(fd, &request, sizeof(request), 0);
  char answer = 0;
  CHECK(ReceiveAll(fd, &answer, 1));
}

void ReferenceClient::Get(uint64_t chunk, uint64_t bytes) {
  const int fd = Connection(chunk % ports_.size());
  Request request;
  request.chunk = chunk;
  request.bytes = bytes;
  SendAll(fd, &request, sizeof(request), 0);
  for (uint64_t done = 0; done < bytes;) {
    PartHeader part;
    CHECK(ReceiveAll(fd, &part, sizeof(part)));
    CHECK_LE(part.bytes, buffer_.size());
    CHECK(ReceiveAll(fd, buffer_.data(), part.bytes));
    CheckCrc(part, buffer_.data());
    done += part.bytes;
  }
}

}  // namespace ballast::bench
