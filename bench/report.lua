-- What wrk measured, for proxy.py: requests, bytes, seconds, microseconds at the mean and at the 99th percentile, errors.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format("report %d %d %f %f %f %d\n", summary.requests, summary.bytes, summary.duration / 1e6,
      latency.mean, latency:percentile(99), errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
