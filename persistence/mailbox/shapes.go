package mailbox

// The numbers of the fields that are read here; a test holds them and the shapes
// to the schema.
const (
	batchTerm, batchNow, batchMutations = 1, 2, 3

	mutationUser       = 1
	mutationAccept     = 2
	mutationAppend     = 3
	mutationProgress   = 4
	mutationRow        = 5
	mutationOutboxPut  = 6
	mutationOutboxTrim = 7
	mutationInboxMark  = 8

	acceptPeer, acceptDevice, acceptSender, acceptResult, acceptEntry, acceptMailbox = 1, 2, 3, 4, 5, 6
	appendEntry, appendReplaces, appendReceiptRow, appendMailbox                     = 1, 2, 3, 4
	progressCursors, progressHead, progressDeleted, progressWatermarks               = 1, 2, 3, 4
	rowKey, rowValue                                                                 = 1, 2
	putShard, putNumber, putStep                                                     = 1, 2, 3
	trimShard, trimFirst, trimLast                                                   = 1, 2, 3
	markShard, markNumber                                                            = 1, 2

	entrySeq               = 1
	senderAccepted         = 3
	receiptRowReceipt      = 2
	receiptPeer, receiptBy = 1, 2
	watermarkPeer          = 1
	cursorDevice           = 1
	headHead               = 1
)

var (
	shapeBatch = shape{"batch", [maxField + 1]rule{
		batchTerm: {form: number64}, batchNow: {form: number64}, batchMutations: {part, many, &shapeMutation},
	}}
	shapeMutation = shape{"mutation", [maxField + 1]rule{
		mutationUser:       {form: id},
		mutationAccept:     {part, choice, &shapeAccept},
		mutationAppend:     {part, choice, &shapeAppend},
		mutationProgress:   {part, choice, &shapeProgress},
		mutationRow:        {part, choice, &shapeRow},
		mutationOutboxPut:  {part, choice, &shapeOutboxPut},
		mutationOutboxTrim: {part, choice, &shapeOutboxTrim},
		mutationInboxMark:  {part, choice, &shapeInboxMark},
	}}
	shapeAccept = shape{"accept", [maxField + 1]rule{
		acceptPeer: {form: id}, acceptDevice: {form: number32}, acceptSender: {part, once, &shapeSender},
		acceptResult: {part, once, &shapeResult}, acceptEntry: {part, once, &shapeEntry}, acceptMailbox: {part, once, &shapeMailboxRow},
	}}
	shapeAppend = shape{"append", [maxField + 1]rule{
		appendEntry: {part, once, &shapeEntry}, appendReplaces: {form: number64},
		appendReceiptRow: {part, once, &shapeReceiptRow}, appendMailbox: {part, once, &shapeMailboxRow},
	}}
	shapeProgress = shape{"progress", [maxField + 1]rule{
		progressCursors: {part, many, &shapeCursor}, progressHead: {form: number64},
		progressDeleted: {form: packed}, progressWatermarks: {part, many, &shapeWatermark},
	}}
	shapeRow       = shape{"row", [maxField + 1]rule{rowKey: {form: raw}, rowValue: {form: raw}}}
	shapeOutboxPut = shape{"outbox_put", [maxField + 1]rule{
		putShard: {form: number32}, putNumber: {form: number64}, putStep: {part, once, &shapeStep},
	}}
	shapeOutboxTrim = shape{"outbox_trim", [maxField + 1]rule{
		trimShard: {form: number32}, trimFirst: {form: number64}, trimLast: {form: number64},
	}}
	shapeInboxMark = shape{"inbox_mark", [maxField + 1]rule{markShard: {form: number32}, markNumber: {form: number64}}}

	shapeStep = shape{"step", [maxField + 1]rule{
		1: {form: text}, 2: {part, choice, &shapeMessage}, 3: {part, choice, &shapeWatermark}, 4: {form: number64},
	}}
	shapeEntry = shape{"entry", [maxField + 1]rule{
		entrySeq: {form: number64}, 2: {form: number32}, 3: {form: number64},
		4: {part, choice, &shapeMessage}, 5: {part, choice, &shapeReceipt}, 6: {part, choice, &shapeDeviceEvent},
	}}
	shapeMessage = shape{"message", [maxField + 1]rule{
		1: {form: raw}, 2: {form: text}, 3: {form: number32}, 4: {form: text}, 5: {form: number64}, 6: {form: number64},
		7: {form: number32}, 8: {form: raw}, 9: {form: raw}, 10: {part, many, &shapeDevicePayload},
	}}
	shapeDevicePayload = shape{"device_payload", [maxField + 1]rule{1: {form: number32}, 2: {form: raw}}}
	shapeReceipt       = shape{"receipt", [maxField + 1]rule{
		receiptPeer: {form: id}, receiptBy: {form: id}, 3: {form: number64}, 4: {form: number64}, 5: {part, many, &shapeRange},
	}}
	shapeRange       = shape{"range", [maxField + 1]rule{1: {form: number64}, 2: {form: number64}}}
	shapeDeviceEvent = shape{"device_event", [maxField + 1]rule{1: {part, many, &shapeDeviceRow}, 2: {form: packed}}}
	shapeDeviceRow   = shape{"device_row", [maxField + 1]rule{1: {form: number32}, 2: {form: text}, 3: {form: number64}, 4: {form: number64}}}
	shapeMailboxRow  = shape{"mailbox", [maxField + 1]rule{1: {form: number64}, 2: {form: number64}}}
	shapeSender      = shape{"sender", [maxField + 1]rule{
		1: {form: number64}, 2: {form: number64}, senderAccepted: {form: number64}, 4: {form: number64},
	}}
	shapeResult    = shape{"result", [maxField + 1]rule{1: {form: raw}, 2: {form: number64}, 3: {form: number64}}}
	shapeWatermark = shape{"watermark", [maxField + 1]rule{
		watermarkPeer: {form: id}, 2: {form: number64}, 3: {form: number64}, 4: {part, many, &shapeRange}, 5: {part, many, &shapeRange},
	}}
	shapeReceiptRow = shape{"receipt_row", [maxField + 1]rule{1: {form: number64}, receiptRowReceipt: {part, once, &shapeReceipt}}}
	shapeCursor     = shape{"cursor", [maxField + 1]rule{cursorDevice: {form: number32}, 2: {form: number64}}}
)
