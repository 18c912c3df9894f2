-- wrk: posts the requests of a file one after the other; they stand there whole and are equally long.
-- Arguments: the file, the length of a request. Says at the end: requests, microseconds, p50, p99, refused, broken.
local file, length

function init(args)
  file = assert(io.open(args[1], "rb"))
  length = tonumber(args[2])
end

function request()
  local text = file:read(length)
  if not text or #text < length then -- only a hello is so fast that it sees the same ones again
    file:seek("set", 0)
    text = file:read(length)
  end
  return text
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\nresult %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.status, e.connect + e.read + e.write + e.timeout))
end
