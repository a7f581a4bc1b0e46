-- A dissector of ampe's frames (docs/wire.md) for Wireshark and tshark.
--
--   tshark -X lua_script:ampe.lua -r capture.pcap
--   tshark -X lua_script:ampe.lua -i lo -f 'tcp port 7101' -d tcp.port==7101,ampe
--
-- or copied into the folder that Wireshark names under Help, About, Folders, Personal Lua Plugins. A
-- connection has nothing by which it is known: say "Decode As" for a port other than 7099.

local ampe = Proto("ampe", "ampe messages")

local HEADER_LEN = 16

local OPERATIONS = {
    [0] = "Request", [1] = "Response", [2] = "Signal", [3] = "HelloRequest", [4] = "HelloResponse",
    [5] = "ByeRequest", [6] = "ByeResponse", [7] = "ByeSignal",
}

local fields = {
    channel = ProtoField.uint16("ampe.channel", "Channel number of the sender"),
    operation = ProtoField.uint8("ampe.op", "Operation", base.DEC, OPERATIONS, 0x0f),
    more = ProtoField.bool("ampe.more", "More parts follow", 8, nil, 0x20),
    status = ProtoField.uint8("ampe.status", "Status"),
    id = ProtoField.uint64("ampe.id", "Message id"),
    headers_len = ProtoField.uint16("ampe.headers_len", "Length of the text headers"),
    body_len = ProtoField.uint16("ampe.body_len", "Length of the body"),
    header = ProtoField.string("ampe.header", "Text header"),
    body = ProtoField.bytes("ampe.body", "Body"),
}
ampe.fields = fields

local malformed = ProtoExpert.new("ampe.undefined", "An operation that never travels",
    expert.group.MALFORMED, expert.severity.ERROR)
ampe.experts = { malformed }

local function frame_len(buffer, _, offset)
    return HEADER_LEN + buffer(offset + 12, 2):uint() + buffer(offset + 14, 2):uint()
end

local function dissect_headers(buffer, tree)
    local text = buffer:raw()
    local from = 1
    while from <= #text do
        local to, next_line = text:find("\r\n", from, true)
        local last = to and to - 1 or #text
        if last >= from then
            tree:add(fields.header, buffer(from - 1, last - from + 1))
        end
        from = next_line and next_line + 1 or #text + 1
    end
end

local function dissect_frame(buffer, pinfo, root)
    local operation = bit.band(buffer(2, 1):uint(), 0x0f)
    local name = OPERATIONS[operation] or ("undefined " .. operation)
    local headers_len = buffer(12, 2):uint()
    local body_len = buffer(14, 2):uint()
    local summary = name .. " " .. tostring(buffer(4, 8):uint64())
    local tree = root:add(ampe, buffer(), "ampe, " .. summary .. ", " .. body_len .. " bytes")
    tree:add(fields.channel, buffer(0, 2))
    local proto = tree:add(fields.operation, buffer(2, 1))
    if not OPERATIONS[operation] then
        proto:add_proto_expert_info(malformed)
    end
    tree:add(fields.more, buffer(2, 1))
    tree:add(fields.status, buffer(3, 1))
    tree:add(fields.id, buffer(4, 8))
    tree:add(fields.headers_len, buffer(12, 2))
    tree:add(fields.body_len, buffer(14, 2))
    if headers_len > 0 then
        dissect_headers(buffer(HEADER_LEN, headers_len), tree)
    end
    if body_len > 0 then
        tree:add(fields.body, buffer(HEADER_LEN + headers_len, body_len))
    end
    pinfo.cols.protocol = "ampe"
    if pinfo.cols.info then
        pinfo.cols.info:append(" [" .. summary .. "]")
    end
    return buffer:len()
end

function ampe.dissector(buffer, pinfo, root)
    pinfo.cols.protocol = "ampe"
    pinfo.cols.info:clear()
    dissect_tcp_pdus(buffer, root, HEADER_LEN, frame_len, dissect_frame)
    return buffer:len()
end

-- The port that `ampe proxy --pcap` writes. For another: Decode As, or -d tcp.port==PORT,ampe.
DissectorTable.get("tcp.port"):add(7099, ampe)
