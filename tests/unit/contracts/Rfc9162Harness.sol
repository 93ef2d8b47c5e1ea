// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Rfc9162} from "../../../contracts/Rfc9162.sol";

/// @title The library's verdicts on many cases in one call
/// @dev Only tests deploy it. One eth_call costs a millisecond or more before any hashing, a case in here a tenth of it.
contract Rfc9162Harness {
    struct Consistency {
        uint64 first;
        uint64 second;
        bytes32 firstRoot;
        bytes32 secondRoot;
        bytes32[] proof;
    }

    struct Inclusion {
        bytes entry;
        uint64 index;
        uint64 size;
        bytes32 root;
        bytes32[] proof;
    }

    function consistencies(Consistency[] calldata cases) external view returns (bool[] memory verdicts) {
        verdicts = new bool[](cases.length);
        for (uint256 i; i < cases.length; ++i) {
            Consistency calldata c = cases[i];
            verdicts[i] = Rfc9162.verifyConsistency(c.first, c.second, c.firstRoot, c.secondRoot, c.proof);
        }
    }

    function inclusions(Inclusion[] calldata cases) external view returns (bool[] memory verdicts) {
        verdicts = new bool[](cases.length);
        for (uint256 i; i < cases.length; ++i) {
            Inclusion calldata c = cases[i];
            verdicts[i] = Rfc9162.verifyInclusion(Rfc9162.leafHash(c.entry), c.index, c.size, c.root, c.proof);
        }
    }
}
