//! What the columns of tables mean, for help.

pub const OF_INFO: &str = "\
Examples:
  ringway info numbers
  ringway info numbers --watch
  ringway info numbers --watch 10s --json >> numbers.jsonl

Positions are bytes since the queue was made. The licence is the position up to which the producer
may write without a look at its consumers; the floor, a ring below it, is the lowest position whose
bytes are whole. A queue that is made anew from a journal goes on at the start of a lap: what lies
between counts too, up to the capacity, for those who are before it.

Columns of consumers:
  MEMBER     its line in the member table
  OF         the named subscription that it is a member of
  PROCESS    its process
  STATE      alive; dead, until it is cleared; or holds the producer, which waits for it
  LAG        what happens when it falls a whole ring behind: hold, skip or spill
  RATE       with --watch: messages that it received a second; of a member, acknowledged
  BEHIND     messages that it has not received or not given back. This, BYTES and AGE are the
             subscription's, if it is a member of one
  BYTES      from the first of these to the end of the stream
  AGE        how old that one is. Without a journal, at most: since the sixteenth of the ring that
             it lies in was begun, which may be hours before on a queue where little is sent
  UNACKED    messages that it has taken from its subscription and not acknowledged
  MISSED     messages that were gone before it received them
  SLEEPS     how often it slept while there was nothing
  SINCE      when it came

`ringway help subscriptions` has those of named subscriptions. The rate of the producer is what it
sent a second.";

pub const OF_LIST: &str = "\
FURTHEST BEHIND is how many bytes of the stream lie behind the place of who has read least, by
positions: where the queue was made anew since from a journal, with what lies between that and the
next lap.";

pub const OF_SUBSCRIPTIONS: &str = "\
Columns:
  NAME       the subscription
  MEMBERS    how many live
  STATE      alive; idle, without members; expired, after too long without; or holds the producer
  HEAD       the next message that no member has taken
  UNACKED    messages that members have taken and not acknowledged
  WAITING    of these, refused ones that wait for their next delivery
  RATE       with `ringway info --watch`: messages acknowledged a second
  BEHIND     messages that are not acknowledged, taken or not
  BYTES      from the first of these to the end of the stream, by positions: where the queue was
             made anew since from a journal, with what lies between that and the next lap
  AGE        how old that one is. Without a journal, at most: since the sixteenth of the ring that
             it lies in was begun, which may be hours before on a queue where little is sent
  DELIVERED  how often a message was delivered to a member
  AGAIN      of these, how often not for the first time
  ACKED      messages that were acknowledged
  DEAD       messages that became dead letters
  MISSED     messages that were overwritten before a member took them";
