-- Which pod a request is for: by its path, otherwise by its cookie, and Redis knows where the pod is.

local balancer = require "ngx.balancer"

-- The real lua-resty-redis where it is installed; Debian has no package of it.
local found, redis = pcall(require, "resty.redis")
if not found then
    redis = require "redis_hget"
end

local router = {}

local CONNECT_MS, SEND_MS, READ_MS = 1000, 1000, 1000
-- Kept connections: how long an idle one lives, and how many each worker keeps.
local IDLE_MS, POOL = 10000, 100

local function endpoint_of(sandbox)
    local client = redis:new()
    client:set_timeouts(CONNECT_MS, SEND_MS, READ_MS)
    local ok = client:connect(router.redis_host, router.redis_port)
    if not ok then
        return ngx.exit(503)
    end
    local endpoint, failure = client:hget("vnc_sandboxes", "Sandbox_ID_" .. sandbox)
    if failure then
        return ngx.exit(503)
    end
    client:set_keepalive(IDLE_MS, POOL)
    if not endpoint or endpoint == ngx.null then
        return ngx.exit(404)
    end
    return endpoint
end

function router.access()
    local named = ngx.re.match(ngx.var.request_uri, [[^/vnc/(\d+)(/.*)$]], "jo")
    local sandbox, target
    if named then
        sandbox, target = named[1], named[2]
        ngx.header["Set-Cookie"] = "vnc_session_id=" .. sandbox .. "; Path=/vnc/; HttpOnly"
    else
        local below = ngx.re.match(ngx.var.request_uri, [[^/vnc(/.*)$]], "jo")
        sandbox, target = ngx.var.cookie_vnc_session_id, below and below[1]
    end
    if not sandbox or not target then
        return ngx.exit(404)
    end
    local pod = ngx.re.match(endpoint_of(sandbox), [[^(.+):(\d+)$]], "jo")
    if not pod then
        return ngx.exit(502)
    end
    ngx.ctx.pod_host, ngx.ctx.pod_port = pod[1], tonumber(pod[2])
    ngx.var.target = target
end

function router.balance()
    local ok = balancer.set_current_peer(ngx.ctx.pod_host, ngx.ctx.pod_port)
    if not ok then
        return ngx.exit(502)
    end
end

return router
