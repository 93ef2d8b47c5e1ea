// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Where the heads of append-only logs stand for good
/// @notice A log is named by keccak256 of its origin. Its heads grow only: each is proved to continue the last one
/// (RFC 9162 §2.1.4.2), none is ever replaced, so nobody who reads here can be shown a rewritten past. Beside its heads
/// stand the closes of its book, numbered without gaps: one root for each, so nobody can be shown another book.
/// Errors carry what the caller cannot know; what it sent itself is not repeated.
interface ICheckpointAnchor {
    /// @notice The caller must be the admin.
    error NotAdmin();

    /// @notice An address that must act (admin, anchorer) must not be zero.
    error ZeroAddress();

    /// @notice A log is opened once.
    error AlreadyOpen();

    /// @notice The parent must have retired the log, at that very size.
    error ParentNotRetired();

    /// @notice The log must have been opened here.
    error UnknownLog();

    /// @notice The caller must be the anchorer of that log.
    error NotAnchorer();

    /// @notice A head must be larger than the latest one.
    error SizeNotGreater(uint64 latest, uint64 offered);

    /// @notice A head must continue the latest one, and no root is zero.
    error NotConsistent();

    /// @notice Closes are numbered k = 1, 2, 3 …; `last` is 0 before the first.
    error NotNextClose(uint64 last, uint64 offered);

    /// @notice A close must not have read less of the log than the one before.
    error PrefixLower(uint64 last, uint64 offered);

    /// @notice No book that was closed has the root zero.
    error NoBook();

    /// @notice After `retire` a log takes neither head nor close, and is not retired again.
    error Retired();

    /// @notice A log is retired at its latest size only.
    error SizeNotLatest(uint64 latest, uint64 offered);

    event Opened(bytes32 indexed log, address anchorer, address parent, uint64 parentSize);
    event AnchorerReplaced(bytes32 indexed log, address anchorer);
    event Anchored(bytes32 indexed log, uint64 size, bytes32 root);
    event Closed(bytes32 indexed log, uint64 indexed k, uint64 prefix, bytes32 root);
    event LogRetired(bytes32 indexed log, uint64 size);

    /// @notice Open a log, once; admin only.
    /// @param parent The contract that held the log before, zero if there is none. It must have retired the log at
    /// `parentSize`; that head is taken over, so the first head here has to continue it. So are the number of closes and
    /// the last one of them, so closes go on here at the next k; those before stand in the parent.
    function open(bytes32 log, address anchorer, address parent, uint64 parentSize) external;

    /// @notice Give a log another anchorer, when its key is worn or stolen; admin only.
    function replaceAnchorer(bytes32 log, address anchorer) external;

    /// @notice Record a head; the log's anchorer only.
    /// @param proof PROOF(latest size, D[size]) of RFC 9162 §2.1.4.1; empty for the first head of a log without parent.
    function anchor(bytes32 log, uint64 size, bytes32 root, bytes32[] calldata proof) external;

    /// @notice Record that the book was closed for the k-th time; the log's anchorer only.
    /// @param prefix How many entries of the log the book was made from; never less than at the close before.
    /// @param root The root of the book of days, not zero.
    function close(bytes32 log, uint64 k, uint64 prefix, bytes32 root) external;

    /// @notice End a log here, at its latest size; admin only. A successor contract may then take it over.
    function retire(bytes32 log, uint64 size) external;

    /// @notice The admin's address; it never changes.
    function admin() external view returns (address);

    /// @notice Who may anchor this log; zero if it is not open here.
    function anchorerOf(bytes32 log) external view returns (address);

    /// @notice The latest head: its size, the time (Unix seconds) of its block, and how many heads were anchored here.
    /// @dev Of a log taken over: the parent's size and time, and count 0, until its first head here.
    function latest(bytes32 log) external view returns (uint64 size, uint64 time, uint64 count);

    /// @notice Whether the log has ended here.
    function isRetired(bytes32 log) external view returns (bool);

    /// @notice The root at exactly this size; zero if no head of that size was anchored.
    function rootAt(bytes32 log, uint64 size) external view returns (bytes32);

    /// @notice How often the book was closed, in this contract and its parents; also the newest k.
    function closes(bytes32 log) external view returns (uint64);

    /// @notice The k-th close: entries read, time (Unix seconds) of its block, root of the book; zeros if it isn't here.
    /// @dev Of a log taken over: the parent's last close as it stands there; older ones have to be asked of the parent.
    function closeAt(bytes32 log, uint64 k) external view returns (uint64 prefix, uint64 time, bytes32 root);

    /// @notice Whether `entry` is entry `index` (from 0) of the log at an anchored size (RFC 9162 §2.1.3.2).
    /// @dev The root is looked up and the entry hashed here: a caller who could choose the size or hand in a leaf hash
    /// could pass off an inner node as an entry.
    function verifyInclusion(bytes32 log, uint64 size, uint64 index, bytes calldata entry, bytes32[] calldata proof)
        external
        view
        returns (bool);
}
