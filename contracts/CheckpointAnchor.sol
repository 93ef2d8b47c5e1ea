// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICheckpointAnchor} from "./ICheckpointAnchor.sol";
import {Rfc9162} from "./Rfc9162.sol";

/// @title The heads of append-only logs, and the closes of their books, write-once
/// @dev The admin's key is cold: it opens, replaces an anchorer, retires. The anchorer's key is hot and can do nothing but
/// append. The admin stands in storage, not in the code, so the code hash is the same wherever this is deployed.
contract CheckpointAnchor is ICheckpointAnchor {
    /// @dev One slot: what every new head, and every close, reads and replaces.
    struct Latest {
        uint64 size;
        uint64 time;
        uint64 count;
        uint56 closes; // a close a second for two thousand million years
        bool retired;
    }

    /// @dev Two slots.
    struct Close {
        uint64 prefix;
        uint64 time;
        bytes32 root;
    }

    /// @inheritdoc ICheckpointAnchor
    address public admin;

    /// @inheritdoc ICheckpointAnchor
    mapping(bytes32 log => address) public anchorerOf;

    /// @inheritdoc ICheckpointAnchor
    mapping(bytes32 log => mapping(uint64 size => bytes32)) public rootAt;

    /// @inheritdoc ICheckpointAnchor
    mapping(bytes32 log => mapping(uint64 k => Close)) public closeAt;

    mapping(bytes32 log => Latest) private _latest;

    modifier onlyAdmin() {
        if (msg.sender != admin) revert NotAdmin();
        _;
    }

    constructor(address admin_) {
        if (admin_ == address(0)) revert ZeroAddress();
        admin = admin_;
    }

    /// @inheritdoc ICheckpointAnchor
    function open(bytes32 log, address anchorer, address parent, uint64 parentSize) external onlyAdmin {
        if (anchorer == address(0)) revert ZeroAddress();
        if (anchorerOf[log] != address(0)) revert AlreadyOpen();
        anchorerOf[log] = anchorer;
        emit Opened(log, anchorer, parent, parentSize);
        if (parent == address(0)) {
            if (parentSize != 0) revert ParentNotRetired();
        } else {
            _takeOver(log, ICheckpointAnchor(parent), parentSize);
        }
    }

    /// @inheritdoc ICheckpointAnchor
    function replaceAnchorer(bytes32 log, address anchorer) external onlyAdmin {
        if (anchorer == address(0)) revert ZeroAddress();
        if (anchorerOf[log] == address(0)) revert UnknownLog();
        anchorerOf[log] = anchorer;
        emit AnchorerReplaced(log, anchorer);
    }

    /// @inheritdoc ICheckpointAnchor
    function anchor(bytes32 log, uint64 size, bytes32 root, bytes32[] calldata proof) external {
        _onlyAnchorer(log);
        Latest memory last = _latest[log];
        if (last.retired) revert Retired();
        if (size <= last.size) revert SizeNotGreater(last.size, size);
        if (root == 0) revert NotConsistent(); // zero means 'no head' in rootAt
        mapping(uint64 => bytes32) storage roots = rootAt[log];
        if (last.size == 0) {
            if (proof.length != 0) revert NotConsistent(); // nothing to be consistent with
        } else if (!Rfc9162.verifyConsistency(last.size, size, roots[last.size], root, proof)) {
            revert NotConsistent();
        }
        roots[size] = root;
        _latest[log] = Latest(size, uint64(block.timestamp), last.count + 1, last.closes, false);
        emit Anchored(log, size, root);
    }

    /// @inheritdoc ICheckpointAnchor
    function close(bytes32 log, uint64 k, uint64 prefix, bytes32 root) external {
        _onlyAnchorer(log);
        Latest storage last = _latest[log];
        if (last.retired) revert Retired();
        uint64 before = last.closes;
        if (k != before + 1) revert NotNextClose(before, k);
        if (root == 0) revert NoBook(); // zero means 'no close' in closeAt
        mapping(uint64 => Close) storage found = closeAt[log];
        uint64 read = found[before].prefix; // of no close: 0
        if (prefix < read) revert PrefixLower(read, prefix);
        found[k] = Close(prefix, uint64(block.timestamp), root);
        last.closes = uint56(k);
        emit Closed(log, k, prefix, root);
    }

    /// @inheritdoc ICheckpointAnchor
    function retire(bytes32 log, uint64 size) external onlyAdmin {
        if (anchorerOf[log] == address(0)) revert UnknownLog();
        Latest storage last = _latest[log];
        if (last.retired) revert Retired();
        if (size != last.size) revert SizeNotLatest(last.size, size);
        last.retired = true;
        emit LogRetired(log, size);
    }

    /// @inheritdoc ICheckpointAnchor
    function latest(bytes32 log) external view returns (uint64 size, uint64 time, uint64 count) {
        Latest memory last = _latest[log];
        return (last.size, last.time, last.count);
    }

    /// @inheritdoc ICheckpointAnchor
    function closes(bytes32 log) external view returns (uint64) {
        return _latest[log].closes;
    }

    /// @inheritdoc ICheckpointAnchor
    function isRetired(bytes32 log) external view returns (bool) {
        return _latest[log].retired;
    }

    /// @inheritdoc ICheckpointAnchor
    function verifyInclusion(bytes32 log, uint64 size, uint64 index, bytes calldata entry, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 root = rootAt[log][size];
        return root != 0 && Rfc9162.verifyInclusion(Rfc9162.leafHash(entry), index, size, root, proof);
    }

    function _onlyAnchorer(bytes32 log) private view {
        address anchorer = anchorerOf[log];
        if (msg.sender != anchorer) {
            if (anchorer == address(0)) revert UnknownLog();
            revert NotAnchorer();
        }
    }

    /// @dev Copies the head and the close at which the parent ended; they can't change there any more.
    function _takeOver(bytes32 log, ICheckpointAnchor parent, uint64 parentSize) private {
        (uint64 size, uint64 time,) = parent.latest(log);
        if (size != parentSize || !parent.isRetired(log)) revert ParentNotRetired();
        uint64 k = parent.closes(log);
        _latest[log] = Latest(size, time, 0, uint56(k), false);
        if (size != 0) rootAt[log][size] = parent.rootAt(log, size);
        if (k != 0) {
            (uint64 prefix, uint64 closed, bytes32 root) = parent.closeAt(log, k);
            closeAt[log][k] = Close(prefix, closed, root);
        }
    }
}
