// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Merkle tree proofs of RFC 9162 over SHA-256
/// @dev Names of variables (fn, sn, fr, sr, r) are the RFC's.
library Rfc9162 {
    /// @notice The leaf hash, SHA-256(0x00 || entry) (RFC 9162 §2.1.1).
    function leafHash(bytes calldata entry) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), entry));
    }

    /// @notice The hash of an inner node, SHA-256(0x01 || left || right) (RFC 9162 §2.1.1).
    /// @dev Uses precompile 0x02 on scratch memory past the free pointer: a third cheaper than `sha256(abi.encodePacked())`.
    function nodeHash(bytes32 left, bytes32 right) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore8(p, 0x01)
            mstore(add(p, 1), left)
            mstore(add(p, 33), right)
            let ok := staticcall(gas(), 2, p, 65, 0, 32)
            // out of gas inside the precompile: nothing was returned, so nothing may be believed
            if iszero(and(ok, eq(returndatasize(), 32))) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice Whether `leaf` is the hash of entry `index` in the tree of `size` leaves with `root` (RFC 9162 §2.1.3.2).
    function verifyInclusion(bytes32 leaf, uint64 index, uint64 size, bytes32 root, bytes32[] calldata proof)
        internal
        view
        returns (bool)
    {
        if (index >= size) return false; // step 1
        uint256 fn = index; // step 2
        uint256 sn = uint256(size) - 1;
        bytes32 r = leaf; // step 3
        unchecked {
            for (uint256 i; i < proof.length; ++i) { // step 4
                if (sn == 0) return false; // too many hashes
                if (fn & 1 == 1 || fn == sn) {
                    r = nodeHash(proof[i], r);
                    while (fn & 1 == 0 && fn != 0) {
                        fn >>= 1;
                        sn >>= 1;
                    }
                } else {
                    r = nodeHash(r, proof[i]);
                }
                fn >>= 1;
                sn >>= 1;
            }
        }
        return sn == 0 && r == root; // step 5
    }

    /// @notice Whether the tree of `first` leaves is a prefix of that of `second` leaves (RFC 9162 §2.1.4.2).
    /// @dev Sizes must fulfil 0 < first <= second; equal sizes take an empty proof and equal roots.
    function verifyConsistency(
        uint64 first,
        uint64 second,
        bytes32 firstRoot,
        bytes32 secondRoot,
        bytes32[] calldata proof
    ) internal view returns (bool) {
        if (first == 0 || first > second) return false;
        if (first == second) return proof.length == 0 && firstRoot == secondRoot;
        uint256 fn = uint256(first) - 1; // step 3
        uint256 sn = uint256(second) - 1;
        while (fn & 1 == 1) { // step 4
            fn >>= 1;
            sn >>= 1;
        }
        bool ok;
        bytes32 fr = firstRoot; // step 2: a power of two is its own first node
        bytes32 sr;
        if (fn == 0) {
            (ok, fr, sr) = _walk(fn, sn, fr, proof);
        } else {
            if (proof.length == 0) return false; // step 1
            (ok, fr, sr) = _walk(fn, sn, proof[0], proof[1:]);
        }
        return ok && fr == firstRoot && sr == secondRoot; // step 7
    }

    /// @dev Steps 5 and 6: both roots, from the node `start` up along `proof`; not ok if the proof is too short or too long.
    /// In assembly since each head pays for it: hashes are written where the next hash reads them.
    function _walk(uint256 fn, uint256 sn, bytes32 start, bytes32[] calldata proof)
        private
        view
        returns (bool ok, bytes32 fr, bytes32 sr)
    {
        assembly ("memory-safe") {
            // two buffers 0x01 || left || right past the free pointer; fr lives in the first one, always as the right child
            let f := mload(0x40)
            let s := add(f, 96)
            mstore8(f, 1)
            mstore8(s, 1)
            mstore(add(f, 33), start)
            sr := start
            ok := 1
            let end := add(proof.offset, shl(5, proof.length))
            for { let at := proof.offset } lt(at, end) { at := add(at, 32) } {
                if iszero(sn) { // too many hashes
                    ok := 0
                    break
                }
                let c := calldataload(at)
                switch or(and(fn, 1), eq(fn, sn))
                case 0 {
                    mstore(add(s, 1), sr)
                    mstore(add(s, 33), c)
                }
                default {
                    mstore(add(f, 1), c)
                    ok := and(ok, staticcall(gas(), 2, f, 65, add(f, 33), 32))
                    mstore(add(s, 1), c)
                    mstore(add(s, 33), sr)
                    for {} iszero(or(and(fn, 1), iszero(fn))) {} { // until LSB(fn) is set or fn is 0
                        fn := shr(1, fn)
                        sn := shr(1, sn)
                    }
                }
                ok := and(ok, staticcall(gas(), 2, s, 65, 0, 32))
                sr := mload(0)
                fn := shr(1, fn)
                sn := shr(1, sn)
            }
            fr := mload(add(f, 33))
            // where there is no precompile 0x02 a call succeeds and returns nothing
            ok := and(and(ok, iszero(sn)), or(iszero(proof.length), eq(returndatasize(), 32)))
        }
    }
}
