-- The one command that the router needs, over the same cosockets and the same connection pool that lua-resty-redis uses,
-- and with its names. It does less than that library for each call, never more.

local client = {}
client.__index = client

function client.new()
    return setmetatable({ socket = ngx.socket.tcp() }, client)
end

function client:set_timeouts(connect, send, read)
    self.socket:settimeouts(connect, send, read)
end

function client:connect(host, port)
    return self.socket:connect(host, port)
end

function client:set_keepalive(idle_ms, pool)
    return self.socket:setkeepalive(idle_ms, pool)
end

-- RESP2: a bulk string is `$LENGTH`, the bytes, and an empty line's end; `$-1` is a field that does not exist.
function client:hget(key, field)
    local sent, failure = self.socket:send({
        "*3\r\n$4\r\nHGET\r\n$", #key, "\r\n", key, "\r\n$", #field, "\r\n", field, "\r\n",
    })
    if not sent then
        return nil, failure
    end
    local line
    line, failure = self.socket:receive("*l")
    if not line then
        return nil, failure
    end
    local length = tonumber(line:match("^%$(%-?%d+)$"))
    if not length then
        return nil, line
    end
    if length < 0 then
        return ngx.null
    end
    local value
    value, failure = self.socket:receive(length + 2)
    if not value then
        return nil, failure
    end
    return value:sub(1, length)
end

return client
